"""Random clouds for tests of what is done with splats."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.core.splats import GaussianCloud


def random_splats(count: int, degree: int, seed: int = 0, *, sh_limit: float | None = None) -> GaussianCloud:
    """Splats of any size and orientation within some tens of metres; harmonics cut to `sh_limit` if given."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    quats /= np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-9)
    sh = rng.normal(size=(count, (degree + 1) ** 2, 3))
    if sh_limit is not None:
        sh[:, 1:] = np.clip(sh[:, 1:], -sh_limit, sh_limit)
    return GaussianCloud(
        means=rng.normal(0, 10, (count, 3)).astype(np.float32),
        scales_m=np.exp(rng.uniform(-8, 3, (count, 3))).astype(np.float32),
        quats_wxyz=quats.astype(np.float32),
        opacities=rng.uniform(0.001, 0.999, count).astype(np.float32),
        sh=sh.astype(np.float32),
    )

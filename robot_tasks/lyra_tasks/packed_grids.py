"""Grids of different sizes in one flat tensor, looked up for many positions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch  # noqa: TID253 this module is about tensors


class PackedGrids:
    """Scalar fields on grids, several of which may share a geometry; positions are in the frame of each grid's world.

    Args:
        grids: float arrays [F, rows, cols], one stack of fields a geometry.
        cell_m: cell size of each.
        origin_xy_m: position of the centre of cell [0, 0] of each, [K, 2].
        device: of the tensors.
    """

    def __init__(
        self, grids: Sequence[np.ndarray], cell_m: Sequence[float], origin_xy_m: np.ndarray, *, device: str
    ) -> None:
        assert all(min(g.shape[1:]) >= 2 for g in grids), "interpolation needs two cells each way"
        sizes = np.array([g.size for g in grids])
        self.values = torch.tensor(np.concatenate([g.ravel() for g in grids]), dtype=torch.float32, device=device)
        shape = torch.tensor(np.array([g.shape for g in grids]), dtype=torch.long, device=device)
        self._base = torch.tensor(np.cumsum(sizes) - sizes, dtype=torch.long, device=device)
        self._rows, self._cols = shape[:, 1], shape[:, 2]
        self._per_m = 1.0 / torch.tensor(np.array(cell_m), dtype=torch.float32, device=device)
        self._origin = torch.tensor(np.asarray(origin_xy_m), dtype=torch.float32, device=device).reshape(-1, 2)

    def at(self, which: torch.Tensor, xy_m: torch.Tensor, field: torch.Tensor | None = None) -> torch.Tensor:
        """Bilinear values [N] of grid `which` [N], field `field` [N] or the first, at positions [N, 2].

        Beyond the outermost cells' centres a grid goes on with its border's values.
        """
        rows, cols = self._rows[which], self._cols[which]
        cell = (xy_m - self._origin[which]) * self._per_m[which].unsqueeze(-1)
        u = torch.minimum(cell[:, 0].clamp(min=0.0), (cols - 1).to(cell.dtype))
        v = torch.minimum(cell[:, 1].clamp(min=0.0), (rows - 1).to(cell.dtype))
        col = torch.minimum(u.long(), cols - 2)
        row = torch.minimum(v.long(), rows - 2)
        u, v = u - col, v - row
        base = self._base[which] + row * cols + col
        if field is not None:
            base = base + field * rows * cols
        value, up = self.values, base + cols
        low = value[base] * (1 - u) + value[base + 1] * u
        high = value[up] * (1 - u) + value[up + 1] * u
        return low * (1 - v) + high * v

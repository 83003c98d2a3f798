"""Bodies dropped onto a world's colliders in Newton, the other engine that reads them, in a process of its own.

`newton_worker` is the process; this file asks and reads the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import replacing
from ..core.progress import SILENT, SupportsProgress
from .child_process import Outcome, run_child
from .physx_job import Drop

JOB_FORMAT = 1
INSTALL_HINT = "install it with: pip install 'lyra-worldgen[newton]'"
CONTACTS = ("newton", "mujoco")


@dataclass(frozen=True, kw_only=True)
class NewtonJob:
    """One run of Newton's MuJoCo solver on the CPU."""

    stage: str
    """Absolute path of a USD file with static colliders."""
    drops: tuple[Drop, ...]
    contacts: str = "newton"
    """Who finds contacts: `newton` meets triangles as they are, `mujoco` takes every mesh for its convex hull."""
    seconds: float = 1.5
    """Simulated time [s]."""
    substeps: int = 4
    """Solver steps in a frame of 1/60 s."""

    def dump(self) -> str:
        """JSON text."""
        return json.dumps({"format": JOB_FORMAT, **asdict(self)}, allow_nan=False)

    @classmethod
    def load(cls, path: Path) -> NewtonJob:
        """Read what `dump` wrote; raises `InputError` for another format."""
        plain = json.loads(Path(path).read_text())
        if plain.pop("format", None) != JOB_FORMAT:
            raise InputError(f"job format differs from {JOB_FORMAT}; the caller is of another version: {path}")
        drops = tuple(
            Drop(**{**d, "position_m": tuple(d["position_m"]), "velocity_m_s": tuple(d["velocity_m_s"])})
            for d in plain.pop("drops")
        )
        return cls(drops=drops, **plain)


@dataclass(frozen=True, kw_only=True)
class NewtonResult:
    """Where the bodies came to lie."""

    end_m: np.ndarray
    """[D, 3] centres at the end, world."""
    lowest_m: np.ndarray
    """[D] lowest height of the centre."""
    shapes: Mapping[str, int]
    """Colliders of the world by Newton's name of their type."""
    versions: Mapping[str, str]
    timings_s: Mapping[str, float]
    peak_mib: int

    def save(self, path: Path) -> None:
        """Write JSON aside and rename it to `path`."""
        plain = {
            "format": JOB_FORMAT,
            "end_m": np.round(self.end_m, 6).tolist(),
            "lowest_m": np.round(self.lowest_m, 6).tolist(),
            "shapes": dict(self.shapes),
            "versions": dict(self.versions),
            "timings_s": {name: round(value, 3) for name, value in self.timings_s.items()},
            "peak_mib": self.peak_mib,
        }
        with replacing(path) as file:
            file.write(json.dumps(plain).encode())

    @classmethod
    def load(cls, path: Path) -> NewtonResult:
        """Read what `save` wrote."""
        plain = json.loads(Path(path).read_text())
        if plain.pop("format", None) != JOB_FORMAT:
            raise InputError(f"result format differs from {JOB_FORMAT}; the worker is of another version: {path}")
        plain["end_m"] = np.array(plain["end_m"], float).reshape(-1, 3)
        plain["lowest_m"] = np.array(plain["lowest_m"], float)
        return cls(**plain)


def run_newton_drop(
    job: NewtonJob,
    workdir: Path,
    *,
    timeout_s: float,
    python: str = sys.executable,
    progress: SupportsProgress = SILENT,
) -> Outcome[NewtonResult]:
    """Run `job` in a child process that is gone when this returns.

    The first run on a machine compiles Newton's kernels, a minute or two, which later ones find in Warp's cache.

    Args:
        job: what to drop where.
        workdir: an existing folder for the job, the log and the result.
        timeout_s: the child is killed after this long [s].
        python: interpreter.
        progress: told about `physics` steps; cancelling kills the child.

    Raises:
        Cancelled: through `progress`.
    """
    result_path = workdir / f"newton_{job.contacts}.json"
    end = run_child(
        "lyra.worldgen.sim.newton_worker",
        job.dump(),
        result_path,
        name="Newton",
        install_hint=INSTALL_HINT,
        timeout_s=timeout_s,
        python=python,
        progress=progress,
    )
    if end.problem:
        return Outcome(result=None, problem=end.problem, missing=end.missing)
    try:
        result = NewtonResult.load(result_path)
    except (InputError, ValueError, KeyError, TypeError) as error:
        return Outcome(result=None, problem=f"the physics process answered nonsense ({error})")
    if result.end_m.shape != (len(job.drops), 3) or not np.isfinite(result.end_m).all():
        return Outcome(result=None, problem="Newton lost bodies: their positions are no numbers")
    return Outcome(result=result)

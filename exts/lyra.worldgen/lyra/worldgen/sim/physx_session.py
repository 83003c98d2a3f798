"""One PhysX scene on the CPU, opened from a USD file through ovphysx 0.7.

Use from `physx_worker` only: schemas register once per process and a crash takes the interpreter with it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.optional import require

_schemas_registered = False


class PhysxSession:
    """A context manager: opens and cooks on entry, releases everything on exit.

    `timings_s` holds `open` (USD to stage) and `cook` (stage to colliders) afterwards.
    """

    def __init__(self, stage_path: Path) -> None:
        self._path = Path(stage_path)
        self._closers: list[Callable[[], Any]] = []
        self.timings_s: dict[str, float] = {}

    def __enter__(self) -> PhysxSession:
        global _schemas_registered  # noqa: PLW0603 - the registry it mirrors is process-wide
        warnings.simplefilter("ignore", DeprecationWarning)  # scene queries and bindings: the only API for them in 0.7
        ovphysx = require("ovphysx", extra="physx")
        ovstage = require("ovstage", extra="physx")
        if not _schemas_registered:
            support = require("ovphysx.samples.python_samples.schema_support", extra="physx")
            roots = [*map(str, support.physx_schema_paths()), str(ovphysx.newton_schema_root())]
            ovstage.population.register_usd_schemas(roots)
            ovphysx.PhysX.set_cpu_mode(True)
            # One solver thread: the same world gives the same numbers on every run.
            ovphysx.set_global_config(ovphysx.GlobalConfigKey.NUM_THREADS, 1)
            _schemas_registered = True
        self._types = require("ovphysx.types", extra="physx")
        try:
            self._px = ovphysx.PhysX()
            self._closers.append(self._px.destroy)
            started = time.perf_counter()
            stage = ovstage.Stage("worldgen")
            self._closers.insert(0, stage.destroy)
            ovstage.population.open_usd(stage, str(self._path), ordinal=1, domains=ovstage.PopulationDomain.ALL)
            stage.advance_write_floor(ordinal=1).wait()
            opened = time.perf_counter()
            self._px.wait_task(self._px.attach_ovstage(stage, read_ordinal=1))
            self._closers.insert(0, lambda: self._px.wait_task(self._px.detach_ovstage()))
            self.timings_s.update(open=opened - started, cook=time.perf_counter() - opened)
            self.step(1 / 60)  # queries answer nothing before the first step
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        closers, self._closers = self._closers, []
        for close in closers:
            close()

    def step(self, dt_s: float) -> None:
        self._px.step_sync(dt_s)

    def shape_count(self) -> int:
        """Colliders in the scene."""
        with self._px.query(self._types.SimObjectType.SHAPE, scope=self._types.ObjectScope.ALL).wait() as query:
            return int(query.metadata.total_prim_count)

    def raycast(self, origins: np.ndarray, directions: np.ndarray, *, limit_m: float, both_sides: bool) -> np.ndarray:
        """Distance [N] to the nearest collider along unit directions [N, 3]; inf on a miss."""
        closest = self._types.SceneQueryMode.CLOSEST
        out = np.full(len(origins), math.inf)
        cast = self._px.raycast
        for i, (o, d) in enumerate(zip(origins.tolist(), directions.tolist(), strict=True)):
            hits = cast(o, d, limit_m, closest, both_sides)
            if hits:
                out[i] = hits[0]["distance"]
        return out

    def overlaps(self, centres: np.ndarray, radius_m: float) -> np.ndarray:
        """[M] bool: a sphere there touches or penetrates the surface of a collider."""
        sphere, mode = self._types.SceneQueryGeometryType.SPHERE, self._types.SceneQueryMode.ANY
        return np.array(
            [bool(self._px.overlap(sphere, mode, radius=radius_m, position=c)) for c in centres.tolist()], bool
        )

    def binding(self, pattern: str, kind: str) -> Binding:
        """Read or write one array for all prims that match; `kind` names a `TensorType`."""
        native = self._px.create_tensor_binding(
            pattern=pattern, tensor_type=getattr(self._types.TensorType, kind), raise_if_empty=True
        )
        self._closers.insert(0, native.destroy)
        return Binding(native)

    def contact_forces(self, pattern: str) -> Callable[[], np.ndarray]:
        """A function that reads the net normal force [K, 3] [N] of the last step, rows in order of path."""
        native = self._px.create_contact_binding([pattern], max_contact_data_count=0)
        self._closers.insert(0, native.destroy)
        order = np.argsort(native.sensor_paths)
        buffer = np.zeros((native.sensor_count, 3), np.float32)

        def read() -> np.ndarray:
            native.read_net_normal_forces(buffer)
            return buffer[order].astype(float)

        return read


class Binding:
    """Rows of one quantity, sorted by prim path."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.paths: list[str] = sorted(native.prim_paths)
        self._order = np.argsort(native.prim_paths)
        self._buffer = np.zeros(native.shape, np.float32)

    def read(self) -> np.ndarray:
        """[K, ...] float64."""
        self._native.read(self._buffer)
        return self._buffer[self._order].astype(float)

    def write(self, values: np.ndarray) -> None:
        """Write [K, ...] in the order of `paths`."""
        self._buffer[self._order] = values
        self._native.write(self._buffer)

    def dof_names(self) -> list[str]:
        """Names of the articulation's joints, in the order of the last axis."""
        return list(self._native.dof_names)

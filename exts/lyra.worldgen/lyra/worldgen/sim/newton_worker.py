"""The Newton process: `python -m lyra.worldgen.sim.newton_worker JOB.json RESULT.json [PARENT_PID]`.

Exit codes: 0 measured, 3 Newton is not installed, anything else it failed. Progress is printed as `progress DONE TOTAL`
lines; whatever else is printed is for the log.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.errors import DependencyError
from ..core.optional import require
from .child_process import die_with_parent, installed, peak_mib, print_progress
from .newton_drop import NewtonJob, NewtonResult

FRAME_S = 1 / 60
GHOSTS = -1
"""Collision group of the dropped bodies: a negative group meets every other group and not itself."""
CONTACTS_A_BODY = 64


def measure(job: NewtonJob, progress: Callable[[int, int], None]) -> NewtonResult:
    """Load the colliders, drop the bodies, step, and say where they lie."""
    timings: dict[str, float] = {}
    tick = time.perf_counter()

    def took(name: str) -> None:
        nonlocal tick
        timings[name] = time.perf_counter() - tick
        tick = time.perf_counter()

    warp = require("warp", extra="newton", package="warp-lang")
    # Nothing is differentiated here, and kernels without their adjoints compile in half the time.
    warp.config.enable_backward = False
    warp.config.quiet = True
    newton = require("newton", extra="newton")
    require("mujoco", extra="newton")
    warp.set_device("cpu")
    native = job.contacts == "mujoco"
    builder = newton.ModelBuilder(up_axis=newton.Axis.Z)
    builder.add_usd(job.stage, load_visual_shapes=False, load_sites=False)
    shapes = Counter(
        newton.GeoType(kind).name
        for kind, flags in zip(builder.shape_type, builder.shape_flags, strict=True)
        if int(flags) & int(newton.ShapeFlags.COLLIDE_SHAPES)
    )
    for drop in job.drops:
        _add_body(newton, warp, builder, drop)
    took("load")
    model = builder.finalize()
    limit = CONTACTS_A_BODY * len(job.drops)
    # MuJoCo's own contacts come from its C code, which needs no kernels.
    solver = newton.solvers.SolverMuJoCo(
        model, use_mujoco_contacts=native, use_mujoco_cpu=native, njmax=4 * limit, nconmax=limit
    )
    took("build")
    state, after, control = model.state(), model.state(), model.control()
    newton.eval_fk(model, model.joint_q, model.joint_qd, state)
    pipeline = None if native else newton.CollisionPipeline(model, reduce_contacts=False)
    contacts = None if pipeline is None else pipeline.contacts()
    frames = max(1, round(job.seconds / FRAME_S))
    lowest = np.full(len(job.drops), math.inf)
    for frame in range(frames):
        if pipeline is not None:
            pipeline.collide(state, contacts)
        for _ in range(job.substeps):
            state.clear_forces()
            solver.step(state, after, control, contacts, FRAME_S / job.substeps)
            state, after = after, state
        lowest = np.minimum(lowest, state.body_q.numpy()[-len(job.drops) :, 2])
        if frame == 0:
            took("first_frame")
        progress(frame + 1, frames)
    took("simulate")
    return NewtonResult(
        end_m=state.body_q.numpy()[-len(job.drops) :, :3].astype(float),
        lowest_m=lowest.astype(float),
        shapes=dict(sorted(shapes.items())),
        versions=installed("newton", "mujoco", "mujoco-warp", "warp-lang"),
        timings_s=timings,
        peak_mib=peak_mib(),
    )


def _add_body(newton, warp, builder, drop) -> None:
    volume_m3 = (2 * drop.half_m) ** 3 if drop.shape == "box" else 4 / 3 * math.pi * drop.half_m**3
    cfg = newton.ModelBuilder.ShapeConfig(density=drop.mass_kg / volume_m3, collision_group=GHOSTS)
    body = builder.add_body(xform=warp.transform(warp.vec3(*drop.position_m), warp.quat_identity()))
    if drop.shape == "box":
        builder.add_shape_box(body, hx=drop.half_m, hy=drop.half_m, hz=drop.half_m, cfg=cfg)
    else:
        builder.add_shape_sphere(body, radius=drop.half_m, cfg=cfg)


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    if len(argv) > 2:
        die_with_parent(int(argv[2]))
    try:
        result = measure(NewtonJob.load(Path(argv[0])), print_progress)
    except DependencyError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    result.save(Path(argv[1]))
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The result is on disk: no library's shutdown hook may still turn it into a failure.
    os._exit(code)

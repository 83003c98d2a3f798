#!/usr/bin/env python3
"""Triangles to USD and into PhysX: seconds to write a mesh, open its stage, and cook it as a collider.

    python tools/bench/bench_mesh_usd.py [--faces 20000 200000 500000]

The mesh is a rough floor of that many triangles. It is written as visual and as collision payload; both stages are
opened, and every array read, in a process of their own, and so is the collider cooked (left out, saying so, without the
extra `physx`). One JSON object a line goes to stdout.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_splat_usd import OPEN

from lyra.worldgen.core.machine import core_count
from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.optional import require
from lyra.worldgen.sim.collision import ColliderPlan
from lyra.worldgen.sim.usd_mesh import write_visual
from lyra.worldgen.sim.usd_physics import write_collision, write_physics_scene

COOK = """
import json, resource, sys
from pathlib import Path
from lyra.worldgen.sim.physx_session import PhysxSession
with PhysxSession(Path(sys.argv[1])) as session:
    print(json.dumps({**session.timings_s, "shapes": session.shape_count(),
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
SCENE = """#usda 1.0
(
    defaultPrim = "World"
    metersPerUnit = 1
    subLayers = [@./physics_scene.usda@, @./collision.usdc@]
    upAxis = "Z"
)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faces", type=int, nargs="+", default=[20_000, 200_000, 500_000])
    args = parser.parse_args()
    require("pxr.UsdPhysics", extra="sim", package="usd-core")  # loading it is not part of the first figure
    for faces in args.faces:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), faces)), flush=True)
    return 0


def measure(folder: Path, faces: int) -> dict[str, Any]:
    """One line of results."""
    mesh = rough_floor(faces)
    plan = ColliderPlan(
        boxes=(), rest=mesh, floor_z_m=0.0, mode="mesh", boxed_share=0.0, floaters_removed=0, flipped_pieces=0
    )
    visual_s = timed(lambda: write_visual(folder / "visual.usdc", mesh))
    collision_s = timed(lambda: write_collision(folder / "collision.usdc", plan))
    write_physics_scene(folder / "physics_scene.usda", floor_z_m=0.0, half_width_m=10.0)
    (folder / "scene.usda").write_text(SCENE)
    result: dict[str, Any] = {
        "faces": mesh.face_count,
        "write_visual_s": round(visual_s, 2),
        "write_collision_s": round(collision_s, 2),
        "visual_mib": round((folder / "visual.usdc").stat().st_size / 2**20, 2),
        "collision_mib": round((folder / "collision.usdc").stat().st_size / 2**20, 2),
    }
    opened, read = child(OPEN, folder / "visual.usdc").split()[:2]
    result |= {"stage_open_s": round(float(opened), 3), "stage_read_s": round(float(read), 3)}
    if importlib.util.find_spec("ovphysx"):
        cooked = json.loads(child(COOK, folder / "scene.usda").strip().splitlines()[-1])
        result |= {"cook_s": round(cooked["cook"], 2), "cook_peak_mib": round(cooked["peak_mib"])}
        result["colliders"] = cooked["shapes"]
    else:
        result["cook_s"] = "not measured: the extra physx is not installed"
    result["machine"] = {"cores": core_count(), "platform": platform.platform(), "load": os.getloadavg()[0]}
    return result


def rough_floor(faces: int) -> TriMesh:
    """Two triangles a cell over 10 x 10 m, up to 5 cm high, wound upwards."""
    side = max(1, round((faces / 2) ** 0.5))
    x, y = np.meshgrid(*[np.linspace(-5, 5, side + 1)] * 2)
    height = 0.025 * (np.sin(3 * x) * np.cos(2 * y) + 1) + np.random.default_rng(0).normal(0, 0.002, x.shape)
    corner = np.arange((side + 1) ** 2).reshape(side + 1, side + 1)
    a, b, c, d = (corner[i:][:side, j:][:, :side].ravel() for i, j in ((0, 0), (0, 1), (1, 1), (1, 0)))
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    return TriMesh(
        vertices=np.stack([x, y, height], -1).reshape(-1, 3),
        faces=triangles.astype(np.int32),
        face_labels=np.full(len(triangles), Label.FLOOR, np.uint8),
    )


def timed(action: Any) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def child(code: str, path: Path) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a measuring process failed:\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

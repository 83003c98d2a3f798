"""CoACD for watertight things without planes, in a process of its own because it knows no time limit."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from ..core.errors import DependencyError
from ..core.files import replacing
from ..core.mesh import TriMesh
from ..core.optional import require
from .child_process import die_with_parent, run_child
from .solid_surface import connected_pieces

INSTALL_HINT = "install it with: pip install 'lyra-worldgen[convex]'"
THRESHOLD = 0.03
"""Concavity that is left, relative to the thing's size."""
MAX_HULLS = 48


def solid_pieces(mesh: TriMesh, *, seconds: float, at_least_faces: int) -> tuple[list[np.ndarray], TriMesh, str]:
    """Hulls of the watertight pieces of a mesh, and what is left of it.

    Args:
        mesh: surfaces without planes.
        seconds: for all of them together [s]; when it is over, or without CoACD, everything is left.
        at_least_faces: smaller pieces are left: plates behind few faces are exact.

    Returns:
        Corners [N, 3] of each hull, the rest of the mesh, and why CoACD did nothing, if there was something to do.
    """
    count, piece = connected_pieces(mesh)
    closed = [k for k in range(count) if (piece == k).sum() >= at_least_faces and _watertight(mesh.faces[piece == k])]
    if seconds <= 0 or not closed:
        return [], mesh, ""
    parts = [mesh.select_faces(piece == k) for k in closed]
    job = json.dumps([{"vertices": part.vertices.tolist(), "faces": part.faces.tolist()} for part in parts])
    with tempfile.TemporaryDirectory(prefix="lyra-convex-") as folder:
        result = Path(folder) / "hulls.json"
        end = run_child(
            "lyra.worldgen.sim.coacd_process",
            job,
            result,
            name="CoACD",
            install_hint=INSTALL_HINT,
            timeout_s=seconds,
        )
        if end.problem:
            return [], mesh, end.problem
        hulls = [np.array(hull, float).reshape(-1, 3) for hull in json.loads(result.read_text())]
    return hulls, mesh.select_faces(~np.isin(piece, closed)), ""


def _watertight(faces: np.ndarray) -> bool:
    """Every edge is run through exactly once in each direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    forward, backward = edges[:, 0] << 32 | edges[:, 1], edges[:, 1] << 32 | edges[:, 0]
    return len(np.unique(forward)) == len(forward) and np.array_equal(np.sort(forward), np.sort(backward))


def main(argv: list[str]) -> int:
    """Entry point of the process; returns the exit code."""
    if len(argv) > 2:
        die_with_parent(int(argv[2]))
    try:
        coacd = require("coacd", extra="convex")
    except DependencyError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    coacd.set_log_level("error")
    hulls = []
    for part in json.loads(Path(argv[0]).read_text()):
        thing = coacd.Mesh(np.array(part["vertices"], float), np.array(part["faces"], np.int32))
        found = coacd.run_coacd(thing, threshold=THRESHOLD, max_convex_hull=MAX_HULLS, seed=0)
        hulls += [np.round(vertices, 6).tolist() for vertices, _ in found]
    with replacing(Path(argv[1])) as file:
        file.write(json.dumps(hulls).encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

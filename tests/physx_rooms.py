"""World folders of an analytic room, written by hand as USD text, whole or with one defect each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.store import save_mesh
from rooms import AnalyticRoom, analytic_room

CELL_M = 0.05
_WALL_M = 0.2

_SCENE = """#usda 1.0
(
    defaultPrim = "World"
    metersPerUnit = 1
    kilogramsPerUnit = 1
    upAxis = "Z"
)
def Xform "World"
{{
    def PhysicsScene "PhysicsScene" (prepend apiSchemas = ["PhysxSceneAPI"])
    {{
        vector3f physics:gravityDirection = (0, 0, -1)
        float physics:gravityMagnitude = 9.81
        bool physxScene:enableCCD = 1
        uniform token physxScene:solverType = "TGS"
        uint physxScene:timeStepsPerSecond = 60
    }}
    def Plane "SafetyGround" (prepend apiSchemas = ["PhysicsCollisionAPI"])
    {{
        uniform token axis = "Z"
        uniform token purpose = "guide"
        double3 xformOp:translate = (0, 0, -1)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }}
    def Xform "Collision"
    {{
        uniform token purpose = "guide"
{colliders}
    }}
}}
"""


def _cube(name: str, lo: np.ndarray, hi: np.ndarray) -> str:
    centre, size = (np.asarray(lo) + hi) / 2, np.asarray(hi) - lo
    return f"""        def Cube "{name}" (prepend apiSchemas = ["PhysicsCollisionAPI"])
        {{
            double size = 1
            double3 xformOp:translate = ({", ".join(f"{v:.6g}" for v in centre)})
            float3 xformOp:scale = ({", ".join(f"{v:.6g}" for v in size)})
            uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:scale"]
        }}"""


def _mesh(name: str, mesh: TriMesh) -> str:
    points = ", ".join(f"({x:.6g}, {y:.6g}, {z:.6g})" for x, y, z in mesh.vertices)
    return f"""        def Mesh "{name}" (prepend apiSchemas = ["PhysicsCollisionAPI", "PhysicsMeshCollisionAPI"])
        {{
            uniform token physics:approximation = "none"
            uniform token subdivisionScheme = "none"
            point3f[] points = [{points}]
            int[] faceVertexCounts = [{", ".join(["3"] * mesh.face_count)}]
            int[] faceVertexIndices = [{", ".join(map(str, mesh.faces.ravel().tolist()))}]
        }}"""


def shell_boxes(
    room: AnalyticRoom, hole: tuple[float, float, float, float] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(lowest, highest) corners of slabs behind all surfaces; `hole` (x0, y0, x1, y1) is cut from the floor."""
    (x0, y0, z0), (x1, y1, z1) = room.lo_m, room.hi_m
    t = _WALL_M
    slabs = [
        ((x0 - t, y0 - t, z1), (x1 + t, y1 + t, z1 + t)),
        ((x0 - t, y0 - t, z0), (x0, y1 + t, z1)),
        ((x1, y0 - t, z0), (x1 + t, y1 + t, z1)),
        ((x0, y0 - t, z0), (x1, y0, z1)),
        ((x0, y1, z0), (x1, y1 + t, z1)),
    ]
    floors = [(x0 - t, y0 - t, x1 + t, y1 + t)]
    if hole:
        a, b, c, d = hole
        floors = [(x0, y0, a, y1), (c, y0, x1, y1), (a, y0, c, b), (a, d, c, y1)]
    slabs += [((fx0, fy0, -t), (fx1, fy1, 0.0)) for fx0, fy0, fx1, fy1 in floors]
    return [(np.array(lo), np.array(hi)) for lo, hi in slabs]


def write_scene(path: Path, colliders: list[str]) -> None:
    """A stage that opens directly, with these collider prims."""
    path.write_text(_SCENE.format(colliders="\n".join(colliders)), encoding="utf-8")


def textured(mesh: TriMesh, tile_px: int = 64) -> TriMesh:
    """The mesh with a texture of one checkered tile per face pair."""
    rng = np.random.default_rng(5)
    quads = mesh.face_count // 2
    side = int(np.ceil(np.sqrt(quads)))
    texture = np.zeros((side * tile_px, side * tile_px, 3), np.uint8)
    uv = np.zeros((mesh.face_count, 3, 2), np.float32)
    checker = (np.indices((tile_px, tile_px)) // 8).sum(0) % 2
    for q in range(quads):
        r, c = divmod(q, side)
        colour = rng.integers(70, 230, 3)
        tile = (colour * (0.75 + 0.25 * checker[..., None])).astype(np.uint8)
        texture[r * tile_px : (r + 1) * tile_px, c * tile_px : (c + 1) * tile_px] = tile
        corners = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * 0.9 + 0.05 + [c, side - 1 - r]) / side
        uv[2 * q], uv[2 * q + 1] = corners[[0, 1, 2]], corners[[0, 2, 3]]
    return TriMesh(
        vertices=mesh.vertices, faces=mesh.faces, face_labels=mesh.face_labels, uv=uv, texture_u8=texture
    ).validate()


def write_room_world(
    folder: Path,
    room: AnalyticRoom | None = None,
    *,
    hole: tuple[float, float, float, float] | None = None,
    flipped: bool = False,
    missing_from_map: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None,
    episodes: int = 4,
    open_sky: bool = False,
) -> AnalyticRoom:
    """Write the parts of a world folder that certificate and preview read.

    Args:
        folder: made if missing.
        room: the default analytic room when None.
        hole: (x0, y0, x1, y1) of a hole in the floor's collider.
        flipped: the collider is one triangle mesh whose faces point out of free space.
        missing_from_map: (lowest, highest) corner of a box that collides while the map calls its place free.
        episodes: number of navigation episodes.
        open_sky: the ceiling is sky: seen, and not collided with.
    """
    room = room or analytic_room()
    (folder / "memory").mkdir(parents=True, exist_ok=True)
    (folder / "nav").mkdir(exist_ok=True)
    mesh = textured(room.mesh())
    if open_sky and mesh.face_labels is not None:
        sky = np.where(mesh.face_labels == Label.CEILING, Label.SKY, mesh.face_labels).astype(np.uint8)
        mesh = replace(mesh, face_labels=sky)
    save_mesh(folder / "memory" / "mesh.npz", mesh)
    slabs = shell_boxes(room, hole)[open_sky:]  # the ceiling comes first
    colliders = [_cube(f"slab_{i}", lo, hi) for i, (lo, hi) in enumerate(slabs)]
    colliders += [_cube(f"box_{i}", np.array(lo), np.array(hi)) for i, (lo, hi) in enumerate(room.boxes_m)]
    if flipped:
        inside_out = TriMesh(vertices=mesh.vertices, faces=np.ascontiguousarray(mesh.faces[:, ::-1]))
        colliders = [_mesh("shell", inside_out)]
    if missing_from_map:
        colliders.append(_cube("surprise", np.array(missing_from_map[0]), np.array(missing_from_map[1])))
    write_scene(folder / "world_scene.usda", colliders)
    _write_nav(folder / "nav", room, episodes)
    (folder / "world.json").write_text(
        json.dumps({"format": 1, "scale": {"metres_per_unit": 1.0, "source": "camera_height", "relative_sigma": 0.05}})
    )
    return room


def _write_nav(folder: Path, room: AnalyticRoom, episodes: int) -> None:
    from PIL import Image

    margin = 0.2
    origin = np.array(room.lo_m[:2]) - margin
    cols, rows = np.ceil((np.array(room.hi_m[:2]) + margin - origin) / CELL_M).astype(int)
    y, x = np.mgrid[0:rows, 0:cols]
    centres = np.stack([x + 0.5, y + 0.5], -1) * CELL_M + origin
    inside = ((centres > room.lo_m[:2]) & (centres < room.hi_m[:2])).all(-1)
    free = room.free_at(centres)
    near_wall = room.free_at(centres, -CELL_M) & ~free  # one cell of every wall; boxes are occupied throughout
    grey = np.where(free, 254, np.where(inside | near_wall, 0, 205)).astype(np.uint8)
    Image.fromarray(grey[::-1]).save(folder / "map.png")
    (folder / "map.yaml").write_text(
        f"image: map.png\nresolution: {CELL_M}\norigin: [{origin[0]}, {origin[1]}, 0.0]\n"
        "negate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196\nmode: trinary\n"
    )
    rng = np.random.default_rng(3)
    lines = []
    while len(lines) < episodes:
        start, goal = rng.uniform(room.lo_m[:2], room.hi_m[:2], (2, 2))
        distance = float(np.linalg.norm(goal - start))
        if room.free_at(np.stack([start, goal]), 0.35).all() and 1.5 < distance < 6:
            lines.append(json.dumps({"start": [*start, 0.0], "goal": [*goal, 0.0], "geodesic_m": round(distance, 3)}))
    (folder / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "free_space.json").write_text(
        json.dumps({"robot_radius_m": 0.25, "robot_height_m": 0.6, "area_m2": room.floor_area_m2})
    )

"""Star-shaped worlds with known geometry: what generation hands to simulation, without generation.

Frames: world, floor at z = 0, the photo's camera at (0, 0, 1.5). Every face is counter-clockwise seen from free space.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lyra.worldgen.core.mesh import Label, TriMesh
from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb

TEXTURE_PX = 64


def box_corners(x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
    """Counter-clockwise rectangle [4, 2] [m]."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def subdivided(corners: np.ndarray, step_m: float) -> np.ndarray:
    """The polygon [N, 2] with extra vertices so that no edge is longer than `step_m`: narrow wall quads."""
    points = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        n = max(1, int(np.ceil(np.linalg.norm(b - a) / step_m)))
        points.append(a + (b - a) * (np.arange(n) / n)[:, None])
    return np.concatenate(points)


def random_star(seed: int, wall_count: int, *, near_m: float = 3.0, far_m: float = 7.0) -> np.ndarray:
    """Seeded star-shaped polygon [wall_count, 2] about the origin, counter-clockwise."""
    rng = np.random.default_rng(seed)
    step = 2 * np.pi / wall_count
    azimuth = np.arange(wall_count) * step + rng.uniform(-0.3, 0.3, wall_count) * step
    return rng.uniform(near_m, far_m, wall_count)[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], -1)


def prism(footprint: np.ndarray, height_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [F, 3, 3] and labels [F] of a convex object that stands on the floor; normals outward."""
    n = len(footprint)
    low, high = np.c_[footprint, np.zeros(n)], np.c_[footprint, np.full(n, height_m)]
    triangles = []
    for i in range(n):
        j = (i + 1) % n
        triangles += [[low[i], low[j], high[j]], [low[i], high[j], high[i]]]
    triangles += [[high[0], high[i], high[i + 1]] for i in range(1, n - 1)]
    return np.array(triangles), np.full(len(triangles), Label.OBJECT, np.uint8)


def star_world(
    polygon: np.ndarray,
    *,
    ceiling_m: float | None = 2.8,
    objects: tuple[tuple[np.ndarray, float], ...] = (),
    backdrop: tuple[int, ...] = (),
    wall_top_m: float = 4.0,
) -> TriMesh:
    """A closed room or an open place around the origin, with a texture.

    Args:
        polygon: [N, 2] boundary, counter-clockwise, star-shaped about the origin [m].
        ceiling_m: None makes walls of `wall_top_m`, continued by sky faces up to a sky lid.
        objects: convex footprint [K, 2] and height [m] each.
        backdrop: indices of boundary edges that are backdrop.
        wall_top_m: height of walls under open sky [m].
    """
    top = ceiling_m if ceiling_m is not None else wall_top_m
    triangles, labels = [], []

    def ring(z0: float, z1: float, label_of: dict[int, Label], default: Label) -> None:
        for i in range(len(polygon)):
            a, b = polygon[i], polygon[(i + 1) % len(polygon)]
            p00, p10 = np.r_[a, z0], np.r_[b, z0]
            p01, p11 = np.r_[a, z1], np.r_[b, z1]
            triangles.extend([[p10, p00, p01], [p10, p01, p11]])
            labels.extend([label_of.get(i, default)] * 2)

    def lid(z: float, label: Label, *, up: bool) -> None:
        for i in range(len(polygon)):
            a, b = np.r_[polygon[i], z], np.r_[polygon[(i + 1) % len(polygon)], z]
            c = np.array([0.0, 0.0, z])
            triangles.append([c, a, b] if up else [c, b, a])
            labels.append(label)

    lid(0.0, Label.FLOOR, up=True)
    ring(0.0, top, dict.fromkeys(backdrop, Label.BACKDROP), Label.WALL)
    if ceiling_m is not None:
        lid(ceiling_m, Label.CEILING, up=False)
    else:
        ring(top, 12.0, {}, Label.SKY)
        lid(12.0, Label.SKY, up=False)
    soup, label = np.array(triangles), np.array(labels, np.uint8)
    for footprint, height in objects:
        more, more_labels = prism(np.asarray(footprint, float), height)
        soup, label = np.concatenate([soup, more]), np.concatenate([label, more_labels])
    return textured(soup, label)


def textured(soup: np.ndarray, labels: np.ndarray) -> TriMesh:
    """Weld corners [F, 3, 3] and give every label its own texel block."""
    vertices, inverse = np.unique(np.round(soup.reshape(-1, 3), 9), axis=0, return_inverse=True)
    texture = np.zeros((TEXTURE_PX, TEXTURE_PX, 3), np.uint8)
    palette = np.random.default_rng(5).integers(60, 220, (8, 3))
    for k in range(8):
        texture[:, k * 8 : (k + 1) * 8] = palette[k]
    corner = np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8]])
    uv = (np.c_[labels, np.zeros_like(labels)][:, None] + corner) / np.array([8.0, 1.0])
    return TriMesh(
        vertices=vertices,
        faces=inverse.reshape(-1, 3).astype(np.int32),
        face_labels=labels,
        uv=uv.astype(np.float32),
        texture_u8=texture,
    ).validate()


def simple_room(*, step_m: float = 0.0) -> TriMesh:
    """10 x 8 x 2.8 m with a chest, a pillar and a low box; `step_m` cuts the walls into narrow quads."""
    polygon = box_corners(-4.0, 6.0, -3.5, 4.5)
    if step_m:
        polygon = subdivided(polygon, step_m)
    return star_world(
        polygon,
        objects=(
            (box_corners(3.0, 4.2, -1.0, 0.4), 0.9),
            (box_corners(-1.3, -0.9, 1.8, 2.2), 2.5),
            (box_corners(1.0, 1.6, -2.6, -2.0), 0.35),
        ),
    )


def open_place() -> TriMesh:
    """An outdoor place with 24 edges, every third a backdrop, under open sky."""
    return star_world(
        random_star(3, 24, near_m=9.0, far_m=12.0),
        ceiling_m=None,
        backdrop=tuple(range(0, 24, 3)),
        objects=((box_corners(3.0, 4.0, -1.0, 1.0), 1.2), (box_corners(-5.0, -4.0, 2.0, 3.0), 2.0)),
    )


def room_with_alcove() -> TriMesh:
    """6 x 6 m room with a 1 m wide opening in the +x wall that leads into a stub corridor: a door gap to keep."""
    polygon = np.array([[-3, -3], [3, -3], [3, -0.5], [4.2, -0.5], [4.2, 0.5], [3, 0.5], [3, 3], [-3, 3]], float)
    return star_world(polygon)


def noisy_room(seed: int = 0) -> TriMesh:
    """`simple_room` finely tessellated with millimetre noise and floaters, as a fused reconstruction has."""
    mesh = simple_room(step_m=0.25)
    soup, labels = mesh.triangles(), mesh.face_labels
    assert labels is not None
    for _ in range(8):
        edge = np.linalg.norm(soup - np.roll(soup, -1, axis=1), axis=2)
        large = edge.max(1) > 0.25
        if not large.any():
            break
        k = edge[large].argmax(1)
        rolled = np.stack([np.roll(t, -i, axis=0) for t, i in zip(soup[large], k, strict=True)])
        a, b, c = rolled[:, 0], rolled[:, 1], rolled[:, 2]
        m = (a + b) / 2
        halves = np.concatenate([np.stack([a, m, c], 1), np.stack([m, b, c], 1)])
        soup = np.concatenate([soup[~large], halves])
        labels = np.concatenate([labels[~large], labels[large], labels[large]])
    rng = np.random.default_rng(seed)
    dense = textured(soup, labels)
    shaken = dense.vertices + rng.normal(0, 0.003, dense.vertices.shape)
    dust = rng.uniform([-3, -3, 0.5], [5, 4, 2.5], (30, 1, 3)) + 0.02 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1]])
    return textured(
        np.concatenate([shaken[dense.faces], dust]), np.concatenate([labels, np.zeros(len(dust), np.uint8)])
    )


def sample_splats(mesh: TriMesh, count: int = 500, seed: int = 1) -> GaussianCloud:
    """Small discs scattered over the mesh."""
    rng = np.random.default_rng(seed)
    area = mesh.face_areas_m2()
    face = rng.choice(mesh.face_count, count, p=area / area.sum())
    weights = rng.dirichlet([1, 1, 1], count)
    return GaussianCloud(
        means=np.einsum("nk,nkc->nc", weights, mesh.triangles()[face]).astype(np.float32),
        scales_m=rng.uniform(0.01, 0.05, (count, 3)).astype(np.float32),
        quats_wxyz=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        opacities=rng.uniform(0.3, 0.95, count).astype(np.float32),
        sh=sh_from_rgb(rng.uniform(0, 1, (count, 3))),
        labels=None if mesh.face_labels is None else mesh.face_labels[face],
    )


def papered_room() -> TriMesh:
    """6 x 5 x 2.6 m with a crate; every side has texels of its own, 64 to the metre.

    The floor is grey with light falling off along x, the walls are yellowish with a blue door of 1 x 2 m on one of
    them, the ceiling is nearly white and the crate is green.
    """
    low, high = np.array([-2.0, -2.5, 0.0]), np.array([4.0, 2.5, 2.6])
    quads, labels = [], []

    def box(a: np.ndarray, b: np.ndarray, *, inward: bool) -> None:
        for axis in range(3):
            for side in (0, 1):
                u, v = (axis + 1) % 3, (axis + 2) % 3
                corner = np.zeros((4, 3))
                corner[:, axis] = (a, b)[side][axis]
                corner[:, u] = np.array([a[u], b[u], b[u], a[u]])
                corner[:, v] = np.array([a[v], a[v], b[v], b[v]])
                quads.append(corner if (side == 1) != inward else corner[::-1])
                if not inward:
                    labels.append(Label.OBJECT)
                else:
                    labels.append((Label.FLOOR, Label.CEILING)[side] if axis == 2 else Label.WALL)

    box(low, high, inward=True)
    box(np.array([2.0, -1.0, 0.0]), np.array([3.0, 0.0, 0.8]), inward=False)
    side_px, cells = 400, 4
    texture = np.zeros((side_px * 3, side_px * cells, 3), np.uint8)
    uv = np.zeros((len(quads), 4, 2))
    for k, (quad, label) in enumerate(zip(quads, labels, strict=True)):
        row, column = divmod(k, cells)
        width, height = (64 * np.linalg.norm(quad[i] - quad[1]) for i in (0, 2))
        corner = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        at = corner + np.array([column * side_px + 6, row * side_px + 6])
        uv[k] = np.c_[at[:, 0] / (side_px * cells), 1 - at[:, 1] / (side_px * 3)]
        y, x = np.mgrid[0:side_px, 0:side_px] + 0.5 - 6
        place = quad[0] + (x / width)[..., None] * (quad[1] - quad[0]) + (y / height)[..., None] * (quad[3] - quad[0])
        rgb = np.zeros((side_px, side_px, 3)) + {1: (120, 118, 116), 2: (205, 195, 160), 3: (235, 235, 232)}.get(
            int(label), (60, 120, 60)
        )
        if label == Label.FLOOR:
            check = (np.floor(place[..., 0] / 0.25) + np.floor(place[..., 1] / 0.25)) % 2
            rgb *= (1.15 - 0.1 * (place[..., :1] + 2.0)) * (0.9 + 0.2 * check[..., None])
        if k == 0:
            rgb[(np.abs(place[..., 1]) < 0.5) & (place[..., 2] < 2.0)] = (40, 60, 150)
        texture[row * side_px : (row + 1) * side_px, column * side_px : (column + 1) * side_px] = np.clip(rgb, 0, 255)
    vertices = np.concatenate(quads)
    first = 4 * np.arange(len(quads))[:, None]
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])])
    return TriMesh(
        vertices=vertices,
        faces=faces.astype(np.int32),
        face_labels=np.tile(np.array(labels, np.uint8), 2),
        uv=np.concatenate([uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]).astype(np.float32),
        texture_u8=texture,
    ).validate()


def coloured_splats(mesh: TriMesh, count: int = 20_000, seed: int = 1) -> GaussianCloud:
    """Discs scattered over a textured mesh, in the colours that it has there."""
    assert mesh.uv is not None and mesh.texture_u8 is not None
    rng = np.random.default_rng(seed)
    area = mesh.face_areas_m2()
    face = rng.choice(mesh.face_count, count, p=area / area.sum())
    weights = rng.dirichlet([1, 1, 1], count)
    uv = np.einsum("nk,nkc->nc", weights, mesh.uv[face])
    h, w = mesh.texture_u8.shape[:2]
    rgb = mesh.texture_u8[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)] / 255
    normals = mesh.face_normals()[face]
    quats = np.c_[1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(count)]
    quats[normals[:, 2] < -0.999] = [0, 1, 0, 0]
    return GaussianCloud(
        means=np.einsum("nk,nkc->nc", weights, mesh.triangles()[face]).astype(np.float32),
        scales_m=np.tile(np.array([0.04, 0.04, 0.003], np.float32), (count, 1)),
        quats_wxyz=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=sh_from_rgb(rgb),
    )


def write_certified_room(
    folder: Path, mesh: TriMesh | None = None, splats: GaussianCloud | None = None, *, episode_count: int = 6
) -> Path:
    """A room as a finished world that says it is certified; `simple_room` if no mesh is given."""
    from lyra.worldgen.core.config import SimulationConfig
    from lyra.worldgen.core.manifest import Manifest, PhotoRecord
    from lyra.worldgen.core.store import save_mesh
    from lyra.worldgen.core.world_writer import open_for_writing
    from lyra.worldgen.sim.simulate import WorldMeta, write_simulation

    mesh = simple_room() if mesh is None else mesh
    splats = sample_splats(mesh) if splats is None else splats
    photo = PhotoRecord(name="room.png", sha256="0" * 64, size_px=(64, 48))
    with open_for_writing(folder) as writer:
        plan = ("reconstruct", "simulate", "certify")
        config = {"seed": 4, "certificate": {"drops": 8, "drive_episodes": 1}}
        writer.start(Manifest(generator="test", photo=photo, config=config, plan=plan))
        with writer.stage("reconstruct", inputs="0" * 64) as notes:
            (notes.folder / "memory").mkdir()
            save_mesh(notes.folder / "memory" / "mesh.npz", mesh)
            scale = {"metres_per_unit": 1.0, "source": "camera_height", "relative_sigma": 0.1}
            notes.facts, notes.weights_licence = {"scale": scale}, "Apache-2.0"
        with writer.stage("simulate", inputs="0" * 64) as notes:
            cfg = SimulationConfig(episode_count=episode_count)
            write_simulation(notes.folder, mesh, splats, cfg=cfg, meta=WorldMeta(name="room"), seed=4)
        with writer.stage("certify", inputs="1" * 64) as notes:
            notes.facts = {"verdict": "passed"}
        return writer.folder

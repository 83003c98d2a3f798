"""A place that is open somewhere gets a backdrop around it, and a sky above it where it has no ceiling.

Scans and models end somewhere: behind a hole in a wall, beyond a missing one, above a room without a ceiling. A robot's
sensors need an answer there, and bodies must not leave the world.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.mesh import Label, TriMesh
from ..core.raycast import Raycaster
from ..core.report import Report

GAP_M = 0.05
"""How far the backdrop stands behind everything."""
LEAST_HEIGHT_M = 3.0
EYES = 16
HEADINGS = 72
HEIGHTS_M = (0.1, 0.5, 1.0, 1.5)
BACKDROP_RGB, SKY_RGB = (168, 172, 176), (186, 206, 228)
CELL_M = 2.0
"""Largest side of a face of the backdrop, so that collision boxes and textures stay handy."""
MOST_CELLS = 24
UNDER_M, PIT_M = 0.03, 0.08
"""Depth below the floor of what catches things that fall through cracks, and depth from which on it is a pit."""
CRUMBS_M2 = 0.1
"""So much surface that faces up may lie lower without being ground."""


def enclose(mesh: TriMesh, eyes: np.ndarray, *, ceiling_m: float | None, report: Report) -> TriMesh:
    """The mesh with a backdrop, if it is open.

    Args:
        mesh: labelled, upright, in metres, floor at z = 0; with texture or vertex colours.
        eyes: [V, 3] places in free space.
        ceiling_m: height of the ceiling; None without one.
        report: takes a finding when the place was open.
    """
    level, upward = _open_shares(mesh, eyes, ceiling_m)
    if not level and not upward and ceiling_m is not None:
        return mesh
    low, high = mesh.bounds()
    low, high = low - GAP_M, high + GAP_M
    top = float(high[2] if ceiling_m is not None else max(high[2] + 1.0, LEAST_HEIGHT_M))
    quads = [(wall, Label.BACKDROP) for wall in _walls(low, high, min(0.0, float(low[2])), top)]
    roof = np.array([[low[0], low[1]], [low[0], high[1]], [high[0], high[1]], [high[0], low[1]]])
    quads.append((np.c_[roof, np.full(4, top)], Label.BACKDROP if ceiling_m is not None else Label.SKY))
    if level > 0.0:
        report.warn(
            "import.open",
            f"the place is open: {100 * level:.1f} % of level views leave it; a backdrop behind everything closes it",
        )
    if ceiling_m is None:
        report.info("import.outdoors", "there is no ceiling; the place lies under an open sky")
    elif upward > 0.0:
        report.warn("import.ceiling", f"the ceiling has holes: {100 * upward:.1f} % of upward views leave the place")
    return _with_quads(mesh, quads)


def underlaid(mesh: TriMesh) -> TriMesh:
    """The mesh with a backdrop right below its floor: what falls through a crack between wall and floor stops there.

    A place with stairs or pits, which reach lower, stays as it is.

    Args:
        mesh: labelled, upright, in metres, floor at z = 0; with texture or vertex colours or neither.
    """
    low, high = mesh.bounds()
    ground = _ground_m(mesh)
    if ground < -PIT_M:
        return mesh
    z = min(-UNDER_M, ground - 0.005)
    (x0, y0), (x1, y1) = low[:2] - GAP_M, high[:2] + GAP_M
    bottom = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]])
    return _with_quads(mesh, [(bottom, Label.BACKDROP)])


def _ground_m(mesh: TriMesh) -> float:
    """Height of the lowest ground: next to nothing that faces up lies lower."""
    up = mesh.face_normals()[:, 2] > 0.5
    z, area = mesh.triangles()[up, :, 2].min(1), mesh.face_areas_m2()[up]
    order = np.argsort(z)
    below = np.searchsorted(np.cumsum(area[order]), CRUMBS_M2)
    return float(z[order][below]) if below < len(order) else 0.0


def _open_shares(mesh: TriMesh, eyes: np.ndarray, ceiling_m: float | None) -> tuple[float, float]:
    """Shares of level and of upward rays that hit nothing."""
    caster = Raycaster(mesh)
    chosen = eyes[np.unique(np.linspace(0, len(eyes) - 1, min(EYES, len(eyes))).astype(int))]
    angle = 2 * np.pi * (np.arange(HEADINGS) + 0.37) / HEADINGS
    level = np.stack([np.cos(angle), np.sin(angle), np.zeros(HEADINGS)], -1)
    heights = [h for h in HEIGHTS_M if ceiling_m is None or h < ceiling_m]
    missed, cast = 0, 0
    up_missed, up_cast = 0, 0
    for eye in chosen:
        for height in heights:
            start = np.broadcast_to([eye[0], eye[1], height], level.shape)
            _, face, _ = caster.cast(start, level)
            missed, cast = missed + int((face < 0).sum()), cast + HEADINGS
        for rise in (0.5, 1.5, 8.0):
            rays = level + np.array([0.0, 0.0, rise])
            _, face, _ = caster.cast(np.broadcast_to(eye, rays.shape), rays)
            up_missed, up_cast = up_missed + int((face < 0).sum()), up_cast + HEADINGS
    return missed / max(cast, 1), up_missed / max(up_cast, 1)


def _walls(low: np.ndarray, high: np.ndarray, bottom: float, top: float) -> list[np.ndarray]:
    """[4, 3] corners of upright quads around a rectangle, counter-clockwise seen from inside."""
    ring = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
    walls = []
    for a, b in zip(ring, np.roll(ring, -1, 0), strict=True):
        count = int(np.clip(np.ceil(np.linalg.norm(b - a) / CELL_M), 1, MOST_CELLS))
        for k in range(count):
            p, q = a + (b - a) * k / count, a + (b - a) * (k + 1) / count
            walls.append(np.array([[*q, bottom], [*p, bottom], [*p, top], [*q, top]]))
    return walls


def _with_quads(mesh: TriMesh, quads: list[tuple[np.ndarray, Label]]) -> TriMesh:
    corners = np.concatenate([quad for quad, _ in quads])
    base = len(mesh.vertices) + 4 * np.arange(len(quads))
    faces = np.stack([np.stack([base, base + i, base + j], -1) for i, j in ((1, 2), (2, 3))], 1).reshape(-1, 3)
    labels = np.repeat([int(label) for _, label in quads], 2).astype(np.uint8)
    sky = labels == Label.SKY
    old_labels = np.zeros(mesh.face_count, np.uint8) if mesh.face_labels is None else mesh.face_labels
    uv, texture, rgb = mesh.uv, mesh.texture_u8, mesh.vertex_rgb_u8
    if uv is not None and texture is not None:
        texture, uv, at = _with_colours(texture, uv, (BACKDROP_RGB, SKY_RGB))
        own = np.where(sky[:, None], at[1], at[0])
        uv = np.concatenate([uv, np.repeat(own[:, None], 3, 1)]).astype(np.float32)
    if rgb is not None:
        colours = [SKY_RGB if label == Label.SKY else BACKDROP_RGB for _, label in quads]
        rgb = np.concatenate([rgb, np.repeat(np.array(colours, np.uint8), 4, 0)])
    return replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, corners]),
        faces=np.concatenate([mesh.faces, faces.astype(np.int32)]),
        face_labels=np.concatenate([old_labels, labels]),
        uv=uv,
        texture_u8=texture,
        vertex_rgb_u8=rgb,
    )


def _with_colours(
    texture: np.ndarray, uv: np.ndarray, colours: tuple[tuple[int, int, int], ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A texture with a band of plain colours below it, coordinates that still fit, and those of the colours [K, 2]."""
    h, w = texture.shape[:2]
    rows = max(8, min(h, 64))
    band = np.zeros((rows, w, 3), np.uint8)
    edges = np.linspace(0, w, len(colours) + 1).astype(int)
    at = []
    for k, colour in enumerate(colours):
        band[:, edges[k] : edges[k + 1]] = colour
        at.append([(edges[k] + edges[k + 1]) / 2 / w, rows / 2 / (h + rows)])
    moved = np.stack([uv[..., 0], (uv[..., 1] * h + rows) / (h + rows)], -1)
    return np.concatenate([texture, band]), moved, np.array(at)

"""Views to one clean, labelled surface: the proxy world where there is one, fused depth where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..core.mesh import TriMesh
from ..core.progress import SILENT, SupportsProgress
from ..core.views import WorldViews

WELD_M = 1e-5
"""Vertices closer than this are one vertex [m]."""


def extract_surface(views: WorldViews, *, progress: SupportsProgress = SILENT) -> TriMesh:
    """The world's surface with face labels, welded and without degenerate faces.

    The proxy closes the world also where nobody has looked yet, so all of its faces stay: a hole in it would be a hole
    in the collider. Without a proxy the views' own depth is fused.

    Raises:
        InputError: neither proxy nor depth gives a single face.
    """
    if views.proxy is not None:
        surface = clean_mesh(views.proxy)
    else:
        from .fuse import fuse_views

        surface = clean_mesh(fuse_views(views.views, progress=progress))
    if not surface.face_count:
        raise InputError("the views hold no surface: the proxy and every depth map are empty; generate the views again")
    return surface


def clean_mesh(mesh: TriMesh) -> TriMesh:
    """Weld vertices, drop faces without area, faces that occur twice with one winding and unused vertices.

    Texture and vertex colours do not survive; labels do. The order of the remaining faces is kept.
    """
    mesh.validate()
    key = np.round(mesh.vertices / WELD_M).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[mesh.faces].astype(np.int32).reshape(-1, 3)
    vertices = mesh.vertices[first]
    labels = np.zeros(len(faces), np.uint8) if mesh.face_labels is None else mesh.face_labels.astype(np.uint8)
    keep = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    corner = vertices[faces]
    doubled_area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    longest = np.linalg.norm(corner - np.roll(corner, 1, 1), axis=2).max(1)
    # Height of the triangle over its longest side; thinner than the weld distance means no normal worth trusting.
    keep &= doubled_area > longest * WELD_M
    start = np.argmin(faces, 1)
    turned = np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, 1)
    _, once = np.unique(turned, axis=0, return_index=True)
    unique = np.zeros(len(faces), bool)
    unique[once] = True
    bare = replace(
        mesh, vertices=vertices, faces=faces, face_labels=labels, uv=None, texture_u8=None, vertex_rgb_u8=None
    )
    return bare.select_faces(keep & unique)


def refine_near(
    mesh: TriMesh, eyes: np.ndarray, *, ratio: float = 0.7, shortest_m: float = 0.35, max_faces: int = 40_000
) -> TriMesh:
    """Split faces until none is much larger than its distance to the nearest eye; the surface stays the same.

    A large floor needs fine texels near the camera and coarse ones far away, which one chart cannot give. Edges are
    halved for both neighbours at once, so a closed mesh stays closed.

    Args:
        mesh: welded, without texture.
        eyes: [V, 3] camera positions, world [m].
        ratio: longest edge, relative to its distance from the nearest eye.
        shortest_m: edges below this stay whole [m].
        max_faces: stop before the mesh grows beyond this.
    """
    eyes = np.unique(np.round(eyes, 2), axis=0)
    vertices, faces = mesh.vertices, mesh.faces
    labels = np.zeros(len(faces), np.uint8) if mesh.face_labels is None else mesh.face_labels
    for _ in range(12):
        edges, edge_of_face = _edges(faces)
        a, b = vertices[edges[:, 0]], vertices[edges[:, 1]]
        length = np.linalg.norm(b - a, axis=1)
        split = length > np.maximum(shortest_m, ratio * _distance_to_eyes(a, b, eyes))
        marks = split[edge_of_face]
        if not split.any() or len(faces) + int(marks.sum()) > max_faces:
            break
        middle = np.full(len(edges), -1, np.int64)
        middle[split] = len(vertices) + np.arange(int(split.sum()))
        vertices = np.concatenate([vertices, 0.5 * (a + b)[split]])
        faces, labels = _split_faces(vertices, faces, labels, middle[edge_of_face])
    return TriMesh(vertices=vertices, faces=faces.astype(np.int32), face_labels=labels)


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undirected edges [E, 2] and the three edges of each face [F, 3]; edge k joins corners k and k + 1."""
    directed = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    edges, inverse = np.unique(np.sort(directed, 1), axis=0, return_inverse=True)
    return edges, inverse.reshape(-1, 3)


def _distance_to_eyes(a: np.ndarray, b: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Distance [E] of the segments a-b to the nearest eye."""
    nearest = np.full(len(a), np.inf)
    along = b - a
    squared = np.maximum(np.einsum("ij,ij->i", along, along), 1e-18)
    for eye in eyes:
        t = np.clip(np.einsum("ij,ij->i", eye - a, along) / squared, 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(a + t[:, None] * along - eye, axis=1))
    return nearest


def _split_faces(
    vertices: np.ndarray, faces: np.ndarray, labels: np.ndarray, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Faces and labels after splitting at the edge middles [F, 3] (-1: edge stays whole)."""
    count = (middle >= 0).sum(1)
    # Rotate each face so that its split edges come first: 1 -> edge 0; 2 -> edges 0 and 1; 3 -> as it is.
    first = np.where(
        count == 1, np.argmax(middle >= 0, 1), np.where(count == 2, (np.argmin(middle >= 0, 1) + 1) % 3, 0)
    )
    order = (first[:, None] + np.arange(3)) % 3
    faces, middle = np.take_along_axis(faces, order, 1), np.take_along_axis(middle, order, 1)
    parts, origin = [faces[count == 0]], [np.flatnonzero(count == 0)]

    def add(rows: np.ndarray, *triangles: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        for triangle in triangles:
            parts.append(np.stack(triangle, 1))
            origin.append(rows)

    rows = np.flatnonzero(count == 1)
    (a, b, c), m = faces[rows].T, middle[rows, 0]
    add(rows, (a, m, c), (m, b, c))
    rows = np.flatnonzero(count == 2)
    (a, b, c), m, n = faces[rows].T, middle[rows, 0], middle[rows, 1]
    # What remains beside the corner triangle is a quad; its shorter diagonal gives the better triangles.
    short = np.linalg.norm(vertices[a] - vertices[n], axis=1) <= np.linalg.norm(vertices[m] - vertices[c], axis=1)
    add(rows, (m, b, n))
    add(rows[short], (a[short], m[short], n[short]), (a[short], n[short], c[short]))
    long = ~short
    add(rows[long], (a[long], m[long], c[long]), (m[long], n[long], c[long]))
    rows = np.flatnonzero(count == 3)
    (a, b, c), (m, n, k) = faces[rows].T, middle[rows].T
    add(rows, (a, m, k), (m, b, n), (k, n, c), (m, n, k))
    source = np.concatenate(origin)
    # Children stay beside their parent, so that neighbours in space stay neighbours in memory.
    sort = np.argsort(source, kind="stable")
    return np.concatenate(parts)[sort], labels[source[sort]]

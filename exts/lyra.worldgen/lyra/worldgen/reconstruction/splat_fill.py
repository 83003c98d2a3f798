"""Coarse splats where no view ever looked, so that the splat world has no holes where the mesh has none."""

from __future__ import annotations

import numpy as np

from ..core.frames import quat_wxyz_from_rotation
from ..core.optional import require
from ..core.splats import GaussianCloud, sh_from_rgb
from .texture import BakedTexture

SPACING_M = 0.06
SPACING_RAD = 0.012
"""Distance between neighbours: the larger of a length and an angle seen from the photo's camera."""
WIDEST_SPACING_M = 0.18
"""But no more than this: robots come nearer than the photo did. The budget may demand more."""
OPACITY = 0.97
THICKNESS_M = 0.002


def cover_unseen(baked: BakedTexture, eye: np.ndarray, *, budget: int) -> GaussianCloud:
    """Discs on the unseen part of the surface with the colours that the texture was filled with there.

    Args:
        baked: the textured surface with its map of what was seen.
        eye: [3] the photo's camera, world [m].
        budget: most Gaussians; the spacing grows until they suffice.
    """
    mesh = baked.mesh
    texture_u8, labels = mesh.texture_u8, mesh.face_labels
    assert texture_u8 is not None, "baked textures carry their picture"
    linear = baked.texel_to_world[:, :, :2]
    texel_m = np.sqrt(np.linalg.norm(np.cross(linear[:, :, 0], linear[:, :, 1]), axis=1))
    distance_m = np.linalg.norm(mesh.triangles().mean(1) - eye, axis=1)
    spacing_m = np.clip(SPACING_RAD * distance_m, SPACING_M, WIDEST_SPACING_M)
    cv2 = require("cv2", extra="recon", package="opencv-python-headless")
    seen = (baked.face_map >= 0) & baked.known
    clear_px = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_L2, 3)
    row, col = np.nonzero((baked.face_map >= 0) & ~baked.known)
    face = baked.face_map[row, col]
    while True:
        stride = np.maximum(1, np.round(spacing_m / np.maximum(texel_m, 1e-9))).astype(int)
        # A disc that reaches into what a view saw would blur it.
        pick = (row % stride[face] == 0) & (col % stride[face] == 0) & (clear_px[row, col] >= 0.5 * stride[face])
        if pick.sum() <= budget:
            break
        spacing_m = spacing_m * 1.3
    row, col, face = row[pick], col[pick], face[pick]
    texel = np.stack([col + 0.5, row + 0.5, np.ones(len(row))], -1)
    normal = mesh.face_normals()[face]
    helper = np.where(np.abs(normal[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(helper, normal)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    axes = np.stack([first, np.cross(normal, first), normal], -1)
    spread_m = 0.8 * (stride * texel_m)[face]
    return GaussianCloud(
        means=np.einsum("nij,nj->ni", baked.texel_to_world[face], texel).astype(np.float32),
        scales_m=np.stack([spread_m, spread_m, np.full(len(face), THICKNESS_M)], -1).astype(np.float32),
        quats_wxyz=quat_wxyz_from_rotation(axes).astype(np.float32),
        opacities=np.full(len(face), OPACITY, np.float32),
        sh=sh_from_rgb(texture_u8[row, col] / 255.0),
        labels=(np.zeros(len(face), np.uint8) if labels is None else labels[face].astype(np.uint8)),
    )

"""Bare floors, ceilings and walls between measured places: depth from the planes on which the measured places lie.

Stereo sees edges and patterns. What lies between them in a building is mostly the same few planes: floor, ceiling, and
walls along two directions. Each picture is divided among them as measured depth, free space seen by other pictures, and
the picture's own edges allow (after Furukawa et al., "Manhattan-world stereo", 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, transform_points
from ..core.machine import map_threads
from ..core.optional import require
from ..core.progress import SILENT, SupportsProgress
from .samples import SurfaceSamples
from .view_consistency import DepthPicture, partners

WORK_PX = 160
"""Long side at which pictures are divided."""
MOST_WALLS = 10
"""Of each of the four directions."""
BIN_M = 0.03
LEAST_SUPPORT = 0.012
"""Share of all upright surface that a wall must hold."""
ALIGNED_COS = 0.93
SAME = 0.03
"""Relative difference of depth up to which a measured place lies on a plane; it is then moved onto it."""
FREE = 0.06
"""A plane that lies this much nearer than what another picture sees through it is not there."""
_MISFIT, _LOOSE, _OFF_PLANE, _FORBIDDEN = 1.2, 0.25, 0.6, 2.0
_JUMP, _LEAST_JUMP = 0.9, 0.12
EDGE_LEVELS = 8.0
"""Step between neighbouring pixels, of 255 grey levels, at which one surface may end and another begin."""
LEAST_RIM = 4
"""Measured places on its plane that a bare piece must touch."""
LEAST_MEASURED = 0.02
"""Share of a filled region that must have been measured on its plane."""


@dataclass(frozen=True, kw_only=True)
class ScenePlane:
    """Points p with normal · p = offset; the normal points into the room."""

    normal: np.ndarray
    """[3] unit."""
    offset_m: float


def scene_planes(samples: SurfaceSamples, *, ceiling_m: float | None) -> list[ScenePlane]:
    """Floor, ceiling, and the walls along the axes that much surface lies on.

    Args:
        samples: signed normals, upright, walls along the axes, floor at z = 0, in metres.
        ceiling_m: height of the ceiling; None without one.
    """
    planes = [ScenePlane(normal=np.array([0.0, 0.0, 1.0]), offset_m=0.0)]
    if ceiling_m is not None:
        planes.append(ScenePlane(normal=np.array([0.0, 0.0, -1.0]), offset_m=-ceiling_m))
    upright = np.abs(samples.normals[:, 2]) < 0.35
    total = float(samples.weights[upright].sum())
    if total <= 0:
        return planes
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            facing = upright & (sign * samples.normals[:, axis] > ALIGNED_COS)
            points, weight = samples.points[facing], samples.weights[facing]
            for place in _peaks(points[:, axis], weight, LEAST_SUPPORT * total):
                normal = np.zeros(3)
                normal[axis] = sign
                planes.append(_fitted(ScenePlane(normal=normal, offset_m=sign * place), points, weight))
    return planes


def _fitted(plane: ScenePlane, points: np.ndarray, weight: np.ndarray) -> ScenePlane:
    """The upright plane through what lies near: walls run along the axes to a few degrees only."""
    first = plane
    for reach in (0.1, 0.06, 0.05):
        near = np.abs(points @ plane.normal - plane.offset_m) < reach
        if near.sum() < 20:
            break
        xy, w = points[near, :2], weight[near] / weight[near].sum()
        centre = (xy * w[:, None]).sum(0)
        spread = ((xy - centre) * w[:, None]).T @ (xy - centre)
        values, vectors = np.linalg.eigh(spread)
        across = np.array([*vectors[:, 0], 0.0])
        across *= np.sign(across @ plane.normal) or 1.0
        # A short piece of wall says nothing about its direction.
        if values[1] < 0.1 or across @ first.normal < np.cos(np.radians(6.0)):
            across = plane.normal
        plane = ScenePlane(normal=across, offset_m=float(np.append(centre, 0.0) @ across))
    return plane


def _peaks(at: np.ndarray, weight: np.ndarray, least: float) -> list[float]:
    """Places along an axis on which much lies, the strongest first."""
    if not len(at):
        return []
    low = float(at.min())
    hist = np.bincount(((at - low) / BIN_M).astype(int), weight)
    smooth = np.convolve(np.pad(hist, 2), [0.5, 1.0, 1.0, 1.0, 0.5], "same")[2:-2]
    found: list[float] = []
    while len(found) < MOST_WALLS and smooth.max() >= least:
        k = int(smooth.argmax())
        centre = low + (k + 0.5) * BIN_M
        near = np.abs(at - centre) < 2.5 * BIN_M
        order = np.argsort(at[near], kind="stable")
        sums = np.cumsum(weight[near][order])
        found.append(float(at[near][order][np.searchsorted(sums, 0.5 * sums[-1])]))
        smooth[max(0, k - 5) : k + 6] = 0.0
    return found


def fill_planes(
    pictures: Sequence[DepthPicture],
    grey: Sequence[np.ndarray],
    planes: Sequence[ScenePlane],
    *,
    progress: SupportsProgress = SILENT,
) -> list[np.ndarray]:
    """[H, W] float32 depth of each picture: measured places moved onto their planes, and what lies between them.

    Args:
        pictures: in an upright world, in metres.
        grey: [H, W] float32 of each, 0..255.
        planes: of that world.
    """
    small = [_smaller(picture) for picture in pictures]
    near = partners(np.stack([p.T_world_cam for p in pictures]), 5)

    def one(i: int) -> np.ndarray:
        return _fill(pictures[i], small[i], [small[j] for j in near[i]], grey[i], planes)

    return list(progress.track("planes", map_threads(one, range(len(pictures))), len(pictures)))


def _smaller(picture: DepthPicture) -> DepthPicture:
    """Every n-th pixel: depth is never averaged across edges."""
    c = picture.camera
    scale = min(1.0, WORK_PX / max(c.width_px, c.height_px))
    camera = c.resized(max(8, round(c.width_px * scale)), max(8, round(c.height_px * scale)))
    rows = ((np.arange(camera.height_px) + 0.5) * c.height_px / camera.height_px).astype(int)
    cols = ((np.arange(camera.width_px) + 0.5) * c.width_px / camera.width_px).astype(int)
    return DepthPicture(camera=camera, T_world_cam=picture.T_world_cam, depth_z=picture.depth_z[rows[:, None], cols])


def plane_depths(camera: PinholeCamera, T_world_cam: np.ndarray, planes: Sequence[ScenePlane]) -> np.ndarray:
    """[H, W, K] float32 depth along the optical axis of each plane; inf where it is not seen from its front."""
    rays = np.einsum("ij,hwj->hwi", T_world_cam[:3, :3], camera.rays_cam())
    out = np.full((*rays.shape[:2], len(planes)), np.inf, np.float32)
    for k, plane in enumerate(planes):
        towards = rays @ plane.normal
        height = float(plane.normal @ T_world_cam[:3, 3]) - plane.offset_m
        if height > 0.02:
            out[..., k] = np.where(towards < -1e-3, height / np.maximum(-towards, 1e-3), np.inf)
    return out


def _fill(
    picture: DepthPicture,
    small: DepthPicture,
    others: Sequence[DepthPicture],
    grey: np.ndarray,
    planes: Sequence[ScenePlane],
) -> np.ndarray:
    from . import stereo_numba

    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    depths = plane_depths(small.camera, small.T_world_cam, planes)
    seen = small.depth_z > 0
    possible = np.isfinite(depths)
    ratio = np.log(np.where(possible, depths, 1.0) / np.where(seen, small.depth_z, 1.0)[..., None])
    fit = np.minimum(0.5 * (ratio / SAME) ** 2, _MISFIT)
    cost = np.where(seen[..., None], fit, _LOOSE + _pierced(small, others, depths))
    cost = np.where(possible, cost, _FORBIDDEN)
    # The last label: something else than these planes.
    volume = np.concatenate([cost, np.full((*seen.shape, 1), _OFF_PLANE)], -1).astype(np.float32)
    size = (small.camera.width_px, small.camera.height_px)
    guide = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    total = np.zeros_like(volume)
    stereo_numba.smooth_volume(
        np.ascontiguousarray(volume), guide, np.float32(99.0), np.float32(_JUMP), np.float32(_LEAST_JUMP), total
    )
    label = total.argmin(-1)
    own = np.take_along_axis(ratio, _index(label, len(planes)), -1)[..., 0]
    label[~_supported(label, seen, seen & (np.abs(own) < SAME), _edges(guide))] = len(planes)
    fine = cv2.resize(
        label.astype(np.uint8), (picture.camera.width_px, picture.camera.height_px), interpolation=cv2.INTER_NEAREST
    ).astype(np.int64)
    full = plane_depths(picture.camera, picture.T_world_cam, planes)
    plane = np.take_along_axis(full, _index(fine, len(planes)), -1)[..., 0]
    on_plane = (fine < len(planes)) & np.isfinite(plane)
    measured = picture.depth_z > 0
    close = np.abs(np.where(on_plane, plane, 1.0) / np.where(measured, picture.depth_z, 1.0) - 1.0) < 1.5 * SAME
    out = np.where(on_plane & (~measured | close), plane, picture.depth_z)
    return np.where(np.isfinite(out), out, 0.0).astype(np.float32)


def _index(label: np.ndarray, count: int) -> np.ndarray:
    return np.minimum(label, count - 1)[..., None]


def _pierced(small: DepthPicture, others: Sequence[DepthPicture], depths: np.ndarray) -> np.ndarray:
    """[H, W, K] cost of planes through which other pictures see."""
    out = np.zeros(depths.shape, np.float32)
    rays = small.camera.rays_cam().reshape(-1, 3)
    for k in range(depths.shape[2]):
        depth = depths[..., k].reshape(-1)
        good = np.flatnonzero(np.isfinite(depth) & (depth < 60.0))
        if not len(good):
            continue
        points = transform_points(small.T_world_cam, rays[good] * depth[good, None])
        against = np.zeros(len(good))
        for other in others:
            c = other.camera
            px, z = c.project(transform_points(invert_rigid(other.T_world_cam), points))
            inside = (z > 0.05) & (px[:, 0] >= 0) & (px[:, 1] >= 0) & (px[:, 0] < c.width_px) & (px[:, 1] < c.height_px)
            u, v = px[inside].astype(int).T
            theirs = other.depth_z[v, u]
            against[inside] += (theirs > 0) & (z[inside] < (1.0 - FREE) * theirs)
        out[..., k].reshape(-1)[good] = 0.3 * np.minimum(against, 3.0)
    return out


def _edges(grey: np.ndarray) -> np.ndarray:
    """[H, W] bool: the picture changes here by so much that another surface may begin."""
    across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    down = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    return np.maximum(across, down) > EDGE_LEVELS


def _supported(label: np.ndarray, seen: np.ndarray, fits: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[H, W] bool: regions of one label that hold enough places measured on its plane, without the holes in them that
    something else surrounds: the bare front of a box is no piece of the wall behind.

    Args:
        label: [H, W].
        seen: [H, W] bool, measured.
        fits: [H, W] bool, measured and on the plane of its label.
        edges: [H, W] bool, where the picture shows an edge.
    """
    ndimage = require("scipy.ndimage", extra="recon", package="scipy")
    ok = np.zeros(label.shape, bool)
    for k in np.unique(label):
        of_label = label == k
        parts, count = ndimage.label(of_label)
        size = np.bincount(parts.ravel(), minlength=count + 1)
        hits = np.bincount(parts.ravel(), fits.ravel(), minlength=count + 1)
        good = hits >= np.maximum(6, LEAST_MEASURED * size)
        good[0] = False
        bare, holes = ndimage.label(of_label & ~seen & ~edges)
        rim = np.where(seen, ndimage.maximum_filter(bare, 3), 0)
        around = np.bincount(rim.ravel(), minlength=holes + 1)
        agreeing = np.bincount(rim.ravel(), (fits & of_label).ravel(), minlength=holes + 1)
        own = (agreeing >= LEAST_RIM) & (agreeing >= 0.5 * around)
        own[0] = False
        # What lies on edges belongs to whatever is beside it.
        inner = own[bare] | (of_label & seen)
        ok |= good[parts] & (inner | (of_label & edges & ndimage.binary_dilation(inner)))
    return ok

"""What every pixel is: the network's labels and a colour model of the floor, joined and sharpened along picture edges.

The two floor cues fail differently — the network on unfamiliar things, the colour model on floors like their walls —
so their mean beats each, and their disagreement is the best single warning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.optional import require
from .calibration import VERTICAL, CameraEstimate
from .label_net import CEILING, FLOOR, OBJECT, SKY, WALL, NetLabels
from .regions import even_regions, region_floor, region_means

NET_SHARE = 0.65
VOTE_SHARE = 0.7
"""Weight of a region's vote against each pixel's own answer."""
_DECIDED = 3.0
CUE_LONG_SIDE_PX = 320
"""Size at which labels are joined; finer than the network's answer, coarse enough to stay quick."""
_GRABCUT_LONG_SIDE_PX = 240
_HORIZON_MARGIN_RAD = np.radians(0.7)
_SKY_AGREED, _SKY_ALONE = 0.008, 0.045
"""Shares of the picture that must look like sky to both cues, or to the colour cue alone."""
_SKY_THINKABLE = 0.1
"""Least probability of sky that the network gives what looks like one to the colour cue."""


@dataclass(frozen=True, kw_only=True)
class LabelCues:
    """Label probabilities of a photo."""

    probability: np.ndarray
    """[5, h, w] float32 in the order of `label_net.CLASSES`, sums to one."""
    agreement: float
    """Intersection over union of the two floor cues; 0.5 where there is only one."""
    log_depth: np.ndarray | None
    """[h, w] the network's own log(depth / camera height), for the confidence only."""
    outdoors: bool
    """Sky and no ceiling closes the scene at the top."""


def elevation_of(camera: PinholeCamera, up_cam: np.ndarray) -> np.ndarray:
    """Elevation of every pixel above the horizon [rad], [H, W]."""
    rays = camera.rays_cam()
    return np.arcsin(np.clip(rays @ up_cam / np.linalg.norm(rays, axis=-1), -1.0, 1.0))


def cue_camera(camera: PinholeCamera, long_side_px: int) -> PinholeCamera:
    """The camera reduced to a long side, never enlarged, no side below two pixels."""
    scale = min(1.0, long_side_px / max(camera.width_px, camera.height_px))
    return camera.resized(max(2, round(camera.width_px * scale)), max(2, round(camera.height_px * scale)))


def join_cues(
    rgb_u8: np.ndarray, camera: PinholeCamera, estimate: CameraEstimate, net: NetLabels | None, floor: np.ndarray | None
) -> LabelCues:
    """Label probabilities at `CUE_LONG_SIDE_PX`.

    Args:
        rgb_u8: [H, W, 3] the photo.
        camera: intrinsics of the photo.
        estimate: its calibration.
        net: labels of the network, None without weights.
        floor: [h, w] floor probability of the colour model, None where it failed.
    """
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    small = cue_camera(camera, CUE_LONG_SIDE_PX)
    size = (small.width_px, small.height_px)
    guide = cv2.resize(rgb_u8, size, interpolation=cv2.INTER_AREA)
    elevation = elevation_of(small, estimate.up_cam)
    colour = None if floor is None else cv2.resize(floor, size, interpolation=cv2.INTER_LINEAR)
    log_depth, agreement = None, 0.5
    blue = _blue_sky(guide, elevation)
    plain = np.zeros((5, *elevation.shape), np.float32)
    if net is None:
        p = _classical_probabilities(colour, blue)
        outdoors = bool(blue.mean() > _SKY_ALONE)
    else:
        p = np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in net.probability])
        plain = p
        log_depth = cv2.resize(net.log_depth.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        if colour is not None:
            a, b = p[FLOOR] > 0.5, colour > 0.5
            agreement = float((a & b).sum() / max(int((a | b).sum()), 1))
            joined = NET_SHARE * p[FLOOR] + (1.0 - NET_SHARE) * colour
            rest = p[1:].sum(0)
            # Where the network saw nothing but floor, what the colour model takes away becomes wall.
            share = np.where(rest > 1e-3, p[1:] / np.maximum(rest, 1e-3), np.array([1, 0, 0, 0.0])[:, None, None])
            p = np.concatenate([joined[None], share * (1.0 - joined)])
        outdoors = _is_outdoors(p, blue)
    p = _closed_at_the_top(p.astype(np.float32), guide, elevation, blue, outdoors=outdoors)
    p = _sharpened(p, guide)
    if net is not None and colour is not None:
        p = _voted(p, guide, plain, colour, elevation)
    above = elevation > -_HORIZON_MARGIN_RAD
    p[FLOOR][above] = 0.0
    p[CEILING][~above] = 0.0
    p[SKY][~above] = 0.0
    total = p.sum(0)
    p[WALL][total < 1e-3] = 1.0
    p /= p.sum(0)
    return LabelCues(probability=p, agreement=agreement, log_depth=log_depth, outdoors=outdoors)


def _voted(p: np.ndarray, guide: np.ndarray, net: np.ndarray, colour: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Label probabilities in which the pixels of every even region have voted on floor, wall and object."""
    number = even_regions(guide)
    floor = VOTE_SHARE * region_floor(guide, number, net, colour, elevation) + (1.0 - VOTE_SHARE) * p[FLOOR]
    rest = p[1:] * (1.0 - VOTE_SHARE) + VOTE_SHARE * region_means(p[1:], number)[:, number]
    # What is no floor is one thing or another: doubt between wall and object speaks for neither floor.
    rest = rest**_DECIDED
    total = rest.sum(0)
    share = np.where(total > 1e-6, rest / np.maximum(total, 1e-6), np.array([1, 0, 0, 0.0])[:, None, None])
    return np.concatenate([floor[None], share * (1.0 - floor)]).astype(np.float32)


def _blue_sky(guide: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """[h, w] bool: smooth, bluish and bright above the horizon, reaching the top of the picture."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    rgb = guide.astype(np.float32)
    grey = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY)
    smooth = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (7, 7)) < 8.0
    blue = (rgb[..., 2] > rgb[..., 0] + 8.0) & (rgb.mean(-1) > 100.0)
    candidate = (blue & smooth & (elevation > np.radians(1.0))).astype(np.uint8)
    count, component = cv2.connectedComponents(candidate)
    touching = np.zeros(count, bool)
    touching[np.unique(component[0])] = True
    touching[0] = False
    return touching[component]


def _is_outdoors(p: np.ndarray, blue: np.ndarray) -> bool:
    """Whether there is sky above: both cues agree on a patch, or one of them is sure of much."""
    sky, ceiling = float((p[SKY] > 0.5).mean()), float((p[CEILING] > 0.5).mean())
    both = float((blue & (p[SKY] > 0.3)).mean())
    # Painted walls are blue and smooth, too; the network takes a sky for one at least by half.
    thinkable = float(p[SKY][blue].mean()) > _SKY_THINKABLE if blue.any() else False
    alone = thinkable and float(blue.mean()) > _SKY_ALONE
    return both > _SKY_AGREED or alone or (sky > 0.12 and sky > 2.0 * ceiling)


def _closed_at_the_top(
    p: np.ndarray, guide: np.ndarray, elevation: np.ndarray, blue: np.ndarray, *, outdoors: bool
) -> np.ndarray:
    """Label probabilities with sky or ceiling, never both: lamps are no sky, and foliage is no ceiling."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    p = p.copy()
    if not outdoors:
        p[CEILING] += p[SKY]
        p[SKY] = 0.0
        return p
    p[WALL] += p[CEILING]
    p[CEILING] = 0.0
    seed = blue | (p[SKY] > 0.6)
    if seed.sum() < 30:
        return p
    # The rest of the sky has the seed's colours and hangs together with it.
    lab = cv2.cvtColor(guide, cv2.COLOR_RGB2LAB).astype(np.float32)
    mean = lab[seed].mean(0)
    inverse = np.linalg.inv(np.cov(lab[seed].T) + np.diag([60.0, 6.0, 6.0]))
    off = lab - mean
    near = np.einsum("hwi,ij,hwj->hw", off, inverse, off) < 9.0
    similar = (seed | (near & (elevation > np.radians(1.0)))).astype(np.uint8)
    _, component = cv2.connectedComponents(similar)
    grown = np.isin(component, np.unique(component[seed])) & (similar > 0)
    sky = np.maximum(p[SKY], np.where(seed, 0.85, np.where(grown, 0.6, 0.0)))
    p *= (1.0 - sky) / np.maximum(1.0 - p[SKY], 1e-6)
    p[SKY] = sky
    return p


def _classical_probabilities(colour: np.ndarray | None, blue: np.ndarray) -> np.ndarray:
    """[5, h, w] without a network: floor by colour, sky by colour, everything else a wall."""
    p = np.zeros((5, *blue.shape), np.float32)
    if colour is not None:
        p[FLOOR] = colour
    p[SKY] = np.where(blue, 0.9 * (1.0 - p[FLOOR]), 0.0)
    rest = 1.0 - p[FLOOR] - p[SKY]
    # Nothing tells walls from objects here; walls are the answer that keeps a robot safe.
    p[WALL], p[OBJECT] = 0.9 * rest, 0.1 * rest
    return p


def _sharpened(p: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Guided filter of every layer [K, h, w]: label edges move onto picture edges (He et al., 2010)."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    grey = cv2.cvtColor(guide, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    radius = max(2, round(0.016 * max(grey.shape)))
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, size, borderType=cv2.BORDER_REFLECT)

    m = mean(grey)
    variance = mean(grey * grey) - m * m
    out = np.empty_like(p)
    for i, layer in enumerate(p):
        ml = mean(layer)
        a = (mean(grey * layer) - m * ml) / (variance + 1e-3)
        out[i] = mean(a) * grey + mean(ml - a * m)
    return np.clip(out, 0.0, 1.0)


def grabcut_floor(rgb_u8: np.ndarray, camera: PinholeCamera, estimate: CameraEstimate) -> np.ndarray:
    """Floor probability [h, w] from the photo's own colours and texture (Rother et al., "GrabCut", 2004).

    Certain background is what lies above the horizon and along vertical edges, which cannot lie on a floor; certain
    floor is the middle of the lowest rows; what is looked down on steeply is probably floor.
    """
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    small = cue_camera(camera, _GRABCUT_LONG_SIDE_PX)
    h, w = small.height_px, small.width_px
    picture = cv2.resize(rgb_u8, (w, h), interpolation=cv2.INTER_AREA)
    elevation = elevation_of(small, estimate.up_cam)
    below = elevation < np.radians(-1.5)
    # One flat colour tells nothing apart, and the cut takes minutes to find that out.
    if below.sum() < 60 or picture[below].std(0).max() < 2.0:
        return np.zeros((h, w), np.float32)
    mask = np.full((h, w), cv2.GC_BGD, np.uint8)
    mask[below] = cv2.GC_PR_BGD
    mask[below & (elevation < 0.45 * elevation.min())] = cv2.GC_PR_FGD
    rows, cols = np.arange(h)[:, None] / h, np.abs(np.arange(w) / w - 0.5)[None]
    mask[below & (rows > 0.93) & (cols < 0.3)] = cv2.GC_FGD
    scale = w / camera.width_px
    for ends in estimate.segments.ends_px[estimate.family == VERTICAL] * scale:
        a, b = ends[:2].astype(int), ends[2:].astype(int)
        cv2.line(mask, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), int(cv2.GC_BGD), 2)
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    texture = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), 3)
    lab[..., 0] = np.clip(0.5 * lab[..., 0].astype(np.float32) + np.clip(4.0 * texture, 0, 127), 0, 255)
    if not ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).any():
        return np.zeros((h, w), np.float32)
    # GrabCut seeds its colour clusters from OpenCV's global generator.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.bilateralFilter(lab, 7, 20, 7), mask, None, *models, 4, cv2.GC_INIT_WITH_MASK)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.GaussianBlur(found, (0, 0), 1.2)

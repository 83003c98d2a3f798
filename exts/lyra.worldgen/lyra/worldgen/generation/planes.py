"""Floor and ceiling completed in their own plane: around the camera, and wherever the photo does not show them.

A level camera at eye height never sees the floor around its own feet, yet a robot drives there; and photo columns that
are copied around the ring bring their own perspective along, so that tiles would run towards every copy's vanishing
point. In the plane the material keeps its true scale and a pattern its phase. Light is taken off first and put back
at the end: it is what remains of the colours after everything small is blurred away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.mesh import Label
from ..core.views import PolarLayout
from .mismatch import spread_mismatch
from .quilting import find_lattice, quilt

LARGEST_SIDE_PX = 704
FINEST_CELL_M = 0.012
LEAST_STEEP_RAD = 0.1
"""A ring that looks less far down or up shows nothing of floor or ceiling."""
REACH_PER_BLIND, REACH_MORE_M = 2.2, 2.0
"""The plane reaches this many times as far as the blind disc, and a little more."""
CEILING_PER_BLIND = 1.25
REACH_LIMITS_M = (4.0, 14.0)
LIGHT_SCALE_M = 0.5
"""Smaller changes of colour are material, larger ones light."""
SHARP_CELLS = 1.5
"""A photo pixel may cover this many cells along the line of sight to count as a sharp source."""
SHARP_SHARE = 0.35
"""If the photo resolves the plane less than that, this share of what it shows is the source, the nearest first."""
LONGEST_PERIOD_M = 1.6
COLOUR_BIN = (20.0, 7.0, 7.0)
"""Width of the bins in which colours of the material are counted (CIE Lab)."""
PATCH_M = 0.7
MET_SHARE = 0.5
"""A colour that is met in fewer of the patches of a plane than this is not the material's own but a thing on it."""
STRANGE, STRANGE_MET_SHARE = 3.0, 0.8
"""A colour that many median distances from the mean has to be met in more of the patches."""
PLAIN = 2.5
"""A cell within this many median distances of the mean colour is plain."""
RIM_PX = 5
TONE_M = 0.6
"""Differences of tone between known cells and pieces laid beside them fade out over this distance."""
RIM_SHARE = 0.12
"""The outermost part of the plane fades into the ring."""
MIN_SOURCE_PX = 400
"""Fewer known pixels than this carry no material worth copying."""


@dataclass(frozen=True, kw_only=True)
class PlaneTexture:
    """Colours of a square of a horizontal plane centred on the vertical through the origin."""

    z_m: float
    cell_m: float
    rgb_u8: np.ndarray
    """[S, S, 3]; row 0 at the lowest y, column 0 at the lowest x."""
    known: np.ndarray
    """[S, S] bool."""

    def lookup(self, points_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bilinear colour [N, 3] float32 and validity [N] bool of points on the plane."""
        import cv2

        side = len(self.rgb_u8)
        xy = (points_world[:, :2] / self.cell_m + side / 2).astype(np.float32)
        ok = ((xy >= 0.5) & (xy <= side - 0.5)).all(1) & (np.abs(points_world[:, 2] - self.z_m) < 0.02)
        col, row = np.clip(xy.astype(int), 0, side - 1).T
        ok &= self.known[row, col]
        out = np.zeros((len(points_world), 3), np.float32)
        pick = np.flatnonzero(ok)
        for start in range(0, len(pick), 30_000):  # cv2.remap addresses at most 32767 rows
            part = pick[start : start + 30_000]
            out[part] = cv2.remap(
                self.rgb_u8,
                xy[part, :1] - 0.5,
                xy[part, 1:] - 0.5,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )[:, 0]
        return out, ok


@dataclass(frozen=True, kw_only=True)
class PlaneJob:
    """A horizontal plane that the painter should complete."""

    label: int
    z_m: float
    reach_m: float

    def wanted(self, cells: np.ndarray, layout: PolarLayout) -> np.ndarray:
        """[S, S] bool: cells [S, S, 3] within reach and inside the room."""
        distance = np.linalg.norm(cells[..., :2], axis=-1)
        azimuth = np.arctan2(cells[..., 1], cells[..., 0])
        at = np.round((azimuth - layout.azimuth_rad[0]) / layout.step_rad).astype(int) % len(layout.azimuth_rad)
        return (distance < self.reach_m) & (distance < 1.05 * layout.boundary_m[at] + 0.3)


def planes_to_paint(layout: PolarLayout, elevation_rad: np.ndarray) -> list[PlaneJob]:
    """Floor and ceiling of a full-turn layout, where the ring's rows `elevation_rad` see anything of them."""
    h = layout.camera_height_m
    jobs = []
    for label, z_m, steepest in (
        (Label.FLOOR, 0.0, -float(elevation_rad[-1])),
        (Label.CEILING, layout.ceiling_m, float(elevation_rad[0])),
    ):
        if z_m is None or steepest < LEAST_STEEP_RAD:
            continue
        blind_m = abs(z_m - h) / np.tan(steepest)
        low, high = REACH_LIMITS_M
        reach_m = np.clip(REACH_PER_BLIND * blind_m + REACH_MORE_M, low, high)
        if label == Label.CEILING:
            # Beams and lamps belong to the walls below them: the ring keeps what it sees of a ceiling.
            reach_m = min(CEILING_PER_BLIND * blind_m, high)
        reach_m = min(reach_m, layout.boundary_m.max() + 0.5)
        jobs.append(PlaneJob(label=int(label), z_m=z_m, reach_m=float(reach_m)))
    return jobs


def plane_cells(radius_m: float, z_m: float) -> tuple[np.ndarray, float]:
    """World points [S, S, 3] of the cells of a square that holds a disc of `radius_m`, and the cell size [m]."""
    cell = max(FINEST_CELL_M, 2 * radius_m / LARGEST_SIDE_PX)
    side = int(np.ceil(2 * radius_m / cell))
    axis = (np.arange(side) + 0.5 - side / 2) * cell
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.full_like(x, z_m)], -1), cell


def common_material(rgb_u8: np.ndarray, candidates: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """[S, S] bool: candidate cells that look like most of the plane.

    What was taken for floor but is none (the rim of a fountain, a bench cut off by the picture's edge) covers less of
    it than the floor does, so a robust distance from the median colour leaves it out. Edges of the candidate area are
    left out too: colours mix there. What is common is learned from `reference` [S, S], the candidates if None.
    """
    import cv2

    inner = cv2.erode(candidates.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < MIN_SOURCE_PX and reference is None:
        return candidates
    lab = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float32)
    learned = inner if reference is None else reference
    weight = cv2.GaussianBlur(candidates.astype(np.float32), (0, 0), 3)
    smooth = cv2.GaussianBlur(lab * candidates[..., None], (0, 0), 3) / np.maximum(weight, 1e-3)[..., None]
    # Light falls unevenly on one material: lightness counts less than hue.
    distance = np.linalg.norm((smooth - np.median(smooth[learned], axis=0)) * [0.5, 1.0, 1.0], axis=-1)
    limit = max(3.0 * float(np.median(distance[learned])), 6.0)
    keep = inner & (distance <= limit)
    return keep if keep.sum() >= MIN_SOURCE_PX or reference is not None else candidates


def continue_plane(
    rgb: np.ndarray,
    from_photo: np.ndarray,
    from_ring: np.ndarray,
    wanted: np.ndarray,
    footprint_m: np.ndarray,
    cell_m: float,
    *,
    plain: bool,
    seed: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Continue the plane's material over all `wanted` cells, in step with its pattern if it has one.

    Args:
        rgb: [S, S, 3] float32 in 0..255, valid where known.
        from_photo, from_ring: [S, S] bool: seen in the photo; else copied into the ring, good for light only.
        wanted: [S, S] bool.
        footprint_m: [S, S] length on the plane that one photo pixel covers [m].
        cell_m: side of a cell [m].
        plain: copy only the surface, not what is fixed to it.
        seed: decides among equally good pieces.

    Returns:
        [S, S, 3] float32 and which of the known cells show the common material [S, S]; None when the photo shows too
        little of the plane.
    """
    import cv2

    if from_photo.sum() < MIN_SOURCE_PX:
        return None
    known = from_photo | from_ring
    picture = np.clip(np.where(known[..., None], rgb, 0) + 0.5, 0, 255).astype(np.uint8)
    material = common_material(picture, from_photo)
    if not material.any():
        return None
    alike = material | (common_material(picture, known, material) & from_ring)
    smooth = even_light(rgb, alike, LIGHT_SCALE_M / cell_m)
    mean = smooth[material].mean(0)
    flat = np.where(known[..., None], rgb - smooth + mean, mean)
    limit = max(SHARP_CELLS * cell_m, float(np.quantile(footprint_m[material], SHARP_SHARE)))
    source_ok = material & (footprint_m <= limit) & ~_rare(flat, material, max(8, round(PATCH_M / cell_m)))
    if plain:
        source_ok &= ~_standing_out(flat, material)
    if source_ok.sum() < MIN_SOURCE_PX:
        return None
    lattice = find_lattice(flat, source_ok, largest_px=LONGEST_PERIOD_M / cell_m)
    # Pieces reach a little into what is known, so that what they miss in tone there can be carried on.
    inner = cv2.erode(material.astype(np.uint8), np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1), np.uint8)) > 0
    laid = quilt(
        flat,
        inner,
        wanted | material,
        source_ok,
        seed=seed,
        blur_px=footprint_m / cell_m,
        lattice=lattice,
    )
    if laid is None:
        return None
    return matched_tone(laid, flat, material, TONE_M / cell_m) + smooth - mean, alike


def matched_tone(laid: np.ndarray, truth: np.ndarray, known: np.ndarray, reach_px: float) -> np.ndarray:
    """`truth` where known, else `laid` with the difference of tone along the border carried `reach_px` outwards."""
    signed, wanted = (a.astype(np.float32) / 127.5 - 1 for a in (laid, truth))
    return 127.5 * (spread_mismatch(signed, wanted, known, ~known, wrap=False, reach_px=reach_px) + 1)


def _standing_out(flat: np.ndarray, material: np.ndarray) -> np.ndarray:
    """[S, S] bool: cells near anything that is not the plain surface itself."""
    import cv2

    distance = np.linalg.norm(cv2.GaussianBlur(flat.astype(np.float32), (0, 0), 1.5) - flat[material].mean(0), axis=-1)
    out = (distance > PLAIN * float(np.median(distance[material]))) & material
    return cv2.dilate(out.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _rare(flat: np.ndarray, material: np.ndarray, patch_px: int) -> np.ndarray:
    """[S, S] bool: cells whose colour is met in few places only: a rail, a lamp, the foot of a pillar."""
    import cv2
    from scipy import ndimage

    smooth = cv2.GaussianBlur(np.clip(flat, 0, 255).astype(np.float32) / 255, (0, 0), 1.5)
    bins = np.floor(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB) / COLOUR_BIN).astype(int)
    bins -= bins[material].min(0)
    y, x = np.nonzero(material)
    kinds = tuple(bins[material].max(0) + 1)
    own = np.ravel_multi_index(tuple(bins[material].T), kinds)
    patch = (y // patch_px) * (material.shape[1] // patch_px + 1) + x // patch_px
    patches, patch = np.unique(patch, return_inverse=True)
    count = np.zeros((len(patches), int(np.prod(kinds))), np.float32)
    np.add.at(count, (patch, own), 1)
    size = count.sum(1, keepdims=True)
    whole = size[:, 0] > 0.3 * patch_px**2
    if whole.sum() < 4:
        return np.zeros(material.shape, bool)
    near = (count / size).reshape(-1, *kinds)
    for axis in (1, 2, 3):
        near = ndimage.convolve1d(near, np.ones(3), axis=axis, mode="constant")
    met = (near.reshape(len(patches), -1)[whole] > 0.02).mean(0)
    rare = np.zeros(material.shape, np.uint8)
    away = np.linalg.norm(smooth[y, x] - smooth[y, x].mean(0), axis=-1)
    strange = away > STRANGE * np.median(away)
    rare[y, x] = met[own] < np.where(strange, STRANGE_MET_SHARE, MET_SHARE)
    rare = cv2.morphologyEx(rare, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return cv2.dilate(rare, np.ones((7, 7), np.uint8)) > 0


def faded_into(inner: np.ndarray, outer: np.ndarray, outer_ok: np.ndarray, distance_m: np.ndarray, reach_m: float):
    """[S, S, 3] colours that turn from `inner` to `outer` where that is known, over the last part of the reach."""
    share = np.clip((distance_m / reach_m - (1 - RIM_SHARE)) / RIM_SHARE, 0, 1) * outer_ok
    return inner + (share * share * (3 - 2 * share))[..., None] * (outer - inner)


def even_light(rgb: np.ndarray, alike: np.ndarray, scale_px: float) -> np.ndarray:
    """[S, S, 3] float32 blur of the cells that are `alike`, carried into everything else from ever wider around."""
    import cv2

    shrink = max(1, int(scale_px // 4))
    h, w = alike.shape
    size = (max(2, w // shrink), max(2, h // shrink))
    both = np.dstack([np.where(alike[..., None], rgb, 0), alike]).astype(np.float32)
    small = cv2.resize(both, size, interpolation=cv2.INTER_AREA)
    sigma = scale_px / shrink
    out = np.broadcast_to(rgb[alike].mean(0), (*small.shape[:2], 3)).astype(np.float32)
    widest = 1
    while widest * sigma < 0.5 * max(size):
        widest *= 2
    while widest >= 1:
        blurred = cv2.GaussianBlur(small, (0, 0), widest * sigma, borderType=cv2.BORDER_CONSTANT)
        share = np.clip(blurred[..., 3:] / 0.25, 0, 1)
        out = out + share * (blurred[..., :3] / np.maximum(blurred[..., 3:], 1e-4) - out)
        widest //= 2
    return cv2.resize(np.asarray(out, np.float32), (w, h), interpolation=cv2.INTER_CUBIC)

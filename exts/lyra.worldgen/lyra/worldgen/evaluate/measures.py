"""Figures of one film: camera, geometry, style and revisits, and the likeness to real frames where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.views import SOURCE_PAINTED, RgbdView
from .camera_control import PoseError, pose_error
from .film import film_pairs
from .frame_sets import LEAST_PICTURES, frechet_distance, kernel_distance
from .likeness import psnr_db, ssim
from .networks import Networks, Unavailable
from .persistence import MOVED_M, MOVED_RAD, way_along
from .reprojection import Reprojection, reproject
from .style import StyleDistance, gram_distances, look_of, style_distance

LOWER, HIGHER = "lower", "higher"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One line of the report."""

    id: str
    title: str
    value: float | None
    """None where it could not be measured; `detail` says why."""
    unit: str
    better: str
    """`lower` or `higher`."""
    detail: str

    def as_dict(self) -> dict[str, Any]:
        value = None if self.value is None else float(f"{self.value:.6g}")
        return {"id": self.id, "value": value, "unit": self.unit, "better": self.better, "detail": self.detail}


@dataclass(frozen=True, kw_only=True)
class FilmFigures:
    """Everything measured along one film."""

    measures: tuple[Measure, ...]
    poses: tuple[PoseError, ...]
    reprojections: tuple[Reprojection, ...]
    styles: tuple[StyleDistance, ...]
    """Of every frame but the first."""
    revisits: tuple[tuple[int, int], ...]
    """(first visit, later visit)."""


def measure_film(
    frames: Sequence[RgbdView],
    networks: Networks,
    *,
    metres_per_unit: float = 1.0,
    Ts_commanded: np.ndarray | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> FilmFigures:
    """Camera control, reprojection error, style and revisits of a film; no other pictures are needed.

    Args:
        frames: in the order of time, all of one size; at least two.
        networks: what is on this machine.
        metres_per_unit: of the frames' poses.
        Ts_commanded: [F, 4, 4] poses that were asked for, where they differ from those of the frames.
        on_frame: told after every frame; may raise `Cancelled`.

    Raises:
        InputError: fewer than two frames.
    """
    if len(frames) < 2:
        raise InputError(f"a film of {len(frames)} frames has nothing to compare; expected at least 2")
    poses, reprojections, styles = [], [], []
    first_look = look_of(frames[0].rgb_u8)
    for first, second in film_pairs(frames):
        asked = None if Ts_commanded is None else Ts_commanded[second]
        poses.append(pose_error(frames, first, second, T_commanded=asked, metres_per_unit=metres_per_unit))
        reprojections.append(reproject(frames, first, second))
        styles.append(style_distance(first_look, look_of(frames[second].rgb_u8)))
        on_frame()
    revisits = find_revisits(frames)
    measures = (
        *_camera_measures(poses),
        *_reprojection_measures(reprojections),
        *_style_measures(frames, styles, networks),
        *_revisit_measures(frames, revisits, networks),
        _painted(frames),
    )
    return FilmFigures(
        measures=measures,
        poses=tuple(poses),
        reprojections=tuple(reprojections),
        styles=tuple(styles),
        revisits=tuple(revisits),
    )


def measure_reference(
    real_u8: Sequence[np.ndarray], made_u8: Sequence[np.ndarray], where: Sequence[np.ndarray], networks: Networks
) -> tuple[Measure, ...]:
    """Likeness of a film's frames to the real ones from the same poses.

    Args:
        real_u8, made_u8: [H, W, 3] each, as many of one as of the other, at least one.
        where: [H, W] bool each: the real picture shows this pixel.
        networks: what is on this machine.
    """
    assert len(real_u8) == len(made_u8) == len(where) > 0, "frames come in pairs"
    said = f"Mean of {len(real_u8)} frames"
    pairs = list(zip(real_u8, made_u8, where, strict=True))
    return (
        _mean("reference.psnr", "PSNR against the real frames", [psnr_db(*p) for p in pairs], "dB", HIGHER, said),
        _mean("reference.ssim", "SSIM against the real frames", [ssim(*p) for p in pairs], "", HIGHER, said),
        _perceptual("reference.lpips", "LPIPS against the real frames", [(a, b) for a, b, _ in pairs], networks, said),
        *_distributions(real_u8, made_u8, networks),
    )


def find_revisits(frames: Sequence[RgbdView]) -> list[tuple[int, int]]:
    """(first, later) frames from exactly the same pose, where the camera was elsewhere in between."""
    walked_m, turned_rad = way_along(np.stack([frame.T_world_cam for frame in frames]))
    seen: dict[bytes, int] = {}
    found = []
    for k, frame in enumerate(frames):
        first = seen.setdefault((frame.T_world_cam + 0.0).tobytes(), k)  # -0.0 is the same pose
        if walked_m[k] - walked_m[first] > MOVED_M or turned_rad[k] - turned_rad[first] > MOVED_RAD:
            found.append((first, k))
    return found


def _camera_measures(poses: Sequence[PoseError]) -> list[Measure]:
    turns = [p.rotation_deg for p in poses]
    ways = [p.translation_m for p in poses]
    found = [p for p in poses if p.rotation_deg is not None]
    said = f"Median of {len(found)} frames whose pose was recovered by features and PnP on the world's depth"
    if not found:
        said = "No frame's pose was recovered: too few features of earlier frames; larger frames have more"
    return [
        _median("camera.rotation", "Camera control, rotation error", turns, "°", LOWER, said),
        _median("camera.translation", "Camera control, translation error", ways, "m", LOWER, said),
        _mean(
            "camera.recovered",
            "Frames whose pose was recovered",
            [100.0 * (p.rotation_deg is not None) for p in poses],
            "%",
            HIGHER,
            f"Of {len(poses)}; the others show too few features that the earlier frame has as well",
        ),
        _mean(
            "camera.score",
            "Camera control, score",
            [p.score for p in poses],
            "of 100",
            HIGHER,
            "Mean over all frames; 0 for one whose pose was not recovered",
        ),
    ]


def _reprojection_measures(found: Sequence[Reprojection]) -> list[Measure]:
    said = f"Median of {len([r for r in found if r.flow_px is not None])} pairs of frames"
    return [
        _median(
            "reprojection.photometric",
            "Reprojection error, colour",
            [r.photometric for r in found],
            "0 to 1",
            LOWER,
            f"{said}: mean absolute difference where both show the same",
        ),
        _median(
            "reprojection.flow",
            "Reprojection error, shift",
            [r.flow_px for r in found],
            "px",
            LOWER,
            f"{said}: optical flow between the carried frame and the painted one",
        ),
    ]


def _style_measures(frames: Sequence[RgbdView], styles: Sequence[StyleDistance], networks: Networks) -> list[Measure]:
    said = f"Mean of {len(styles)} later frames against the first"
    out = [
        _mean("style.colour", "Style, colours", [s.colour_lab for s in styles], "CIELAB", LOWER, said),
        _mean("style.texture", "Style, contrasts", [s.texture_octaves for s in styles], "octaves", LOWER, said),
        _mean("style.score", "Style consistency, score", [s.score for s in styles], "of 100", HIGHER, said),
    ]
    title = "Style, Gram matrices of VGG-16"
    if isinstance(networks.style, Unavailable):
        return [*out, _unmeasured("style.gram", title, "", LOWER, networks.style)]
    grams = gram_distances(networks.style, [frame.rgb_u8 for frame in frames])
    return [*out, _mean("style.gram", title, grams, "", LOWER, said)]


def _revisit_measures(
    frames: Sequence[RgbdView], revisits: Sequence[tuple[int, int]], networks: Networks
) -> list[Measure]:
    none = "no pose is visited twice with a walk in between; --persistence walks paths that do"
    count = f"{len(revisits)} visit" + "s" * (len(revisits) != 1)
    said = f"Mean of {count} to a pose that was seen before" if revisits else none
    pairs = [(frames[a].rgb_u8, frames[b].rgb_u8) for a, b in revisits]
    where = [frames[a].valid if frames[a].valid.any() else ~frames[a].valid for a, _ in revisits]
    return [
        _mean(
            "revisit.psnr",
            "Revisits, PSNR",
            [psnr_db(a, b, w) for (a, b), w in zip(pairs, where, strict=True)],
            "dB",
            HIGHER,
            said,
        ),
        _mean(
            "revisit.ssim",
            "Revisits, SSIM",
            [ssim(a, b, w) for (a, b), w in zip(pairs, where, strict=True)],
            "",
            HIGHER,
            said,
        ),
        _perceptual("revisit.lpips", "Revisits, LPIPS", pairs, networks, said),
    ]


def _painted(frames: Sequence[RgbdView]) -> Measure:
    shares = [100.0 * float((f.source == SOURCE_PAINTED).mean()) for f in frames[1:]]
    return _mean(
        "film.painted",
        "Pixels that a frame shows first",
        shares,
        "%",
        HIGHER,
        f"Mean of {len(shares)} frames; the rest comes from the photo and from memory, and is easier to keep",
    )


def _distributions(real_u8: Sequence[np.ndarray], made_u8: Sequence[np.ndarray], networks: Networks) -> list[Measure]:
    titles = {"reference.fid": "FID against the real frames", "reference.kid": "KID against the real frames"}
    if isinstance(networks.inception, Unavailable):
        return [_unmeasured(k, title, "", LOWER, networks.inception) for k, title in titles.items()]
    count = len(real_u8)
    if count < LEAST_PICTURES:
        few = Unavailable(reason=f"{count} frame; at least {LEAST_PICTURES} make a distribution")
        return [_unmeasured(k, title, "", LOWER, few) for k, title in titles.items()]
    real, made = networks.inception(real_u8), networks.inception(made_u8)
    values = (frechet_distance(real, made), kernel_distance(real, made))
    said = f"{count} frames on each side; comparable at the same number only"
    return [
        Measure(id=k, title=title, value=value, unit="", better=LOWER, detail=said)
        for (k, title), value in zip(titles.items(), values, strict=True)
    ]


def _perceptual(
    name: str, title: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], networks: Networks, said: str
) -> Measure:
    if isinstance(networks.perceptual, Unavailable):
        return _unmeasured(name, title, "", LOWER, networks.perceptual)
    try:
        distances = [networks.perceptual.distance(a, b) for a, b in pairs]
    except InputError as error:
        return _unmeasured(name, title, "", LOWER, Unavailable(reason=str(error)))
    return _mean(name, title, distances, "", LOWER, said)


def _unmeasured(name: str, title: str, unit: str, better: str, why: Unavailable) -> Measure:
    return Measure(id=name, title=title, value=None, unit=unit, better=better, detail=why.reason)


def _mean(name: str, title: str, values: Sequence[float | None], unit: str, better: str, said: str) -> Measure:
    return _over(np.mean, name, title, values, unit, better, said)


def _median(name: str, title: str, values: Sequence[float | None], unit: str, better: str, said: str) -> Measure:
    return _over(np.median, name, title, values, unit, better, said)


def _over(
    middle: Callable[[list[float]], Any],
    name: str,
    title: str,
    values: Sequence[float | None],
    unit: str,
    better: str,
    said: str,
) -> Measure:
    known = [v for v in values if v is not None]
    value = float(middle(known)) if known else None
    return Measure(id=name, title=title, value=value, unit=unit, better=better, detail=said)

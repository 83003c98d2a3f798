"""Metres per unit of a photo's world, with an error bar, from everything that is known about its size.

Each piece of evidence says how much larger the world is than its geometry states, in the logarithm. What two pieces
have in common — an estimated camera that may look a little higher, or have a longer lens, than was found — is one
unknown for all of them, so a second length measured with the same doubtful horizon does not count as an independent
one. The result is the scale at which the distances of the whole picture fit best, not only the camera's height.

Without evidence beyond the camera's height nothing here changes a world.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.annotations import Annotation
from ..core.config import RescaleConfig, ScaleConfig, WorldConfig
from ..core.errors import InputError
from ..core.report import Report
from ..core.scaling import expect_factor
from ..core.views import Photo, PhotoGeometry
from .geometry import BACKDROP, EXIF_SIGMA_LOG_F, HEIGHT_SIGMA, Notes, calibrated, prior_for
from .photo import decode_photo
from .scale_lift import LiftedLength, PhotoLift, working_px
from .scale_tag import Tag, find_tags, tag_pose

TAG_LONG_SIDE_PX = 2400
"""Tags are looked for in the photo reduced to this long side."""
MEASURED_HEIGHT_SIGMA = 0.03
"""Relative doubt of a camera height that somebody measured and stated without its doubt."""
EXIF_DISTANCE_SIGMA = 0.25
"""Relative doubt of the subject distance in EXIF: a focusing scale, in steps, of something near the middle."""
CONTRADICTION = 3.0
"""Evidence that differs by more standard deviations than this is wrong about something."""
FLOOR_SIGMA, SURFACE_SIGMA, WHOLE_SIGMA = 0.008, 0.055, 0.02
"""Relative misplacement beyond the camera's doubt, in a photo that was understood with confidence 1: single points of
the floor, points of what stands on it, the median distance of the whole picture. Divided by the confidence (the last by
its root), because labels that are wrong put surfaces elsewhere."""
CEILING_SIGMA = 0.09
_LEAST_CONFIDENCE = 0.08
SPREAD_SHARES = (0.35, 0.7)
"""Calibration spreads its candidates wider than it errs, the more so the more its lines explain: on crops of real
panoramas, where the truth is known, 1.2 less the explained share of its spread, within these bounds, holds the truth
as often as a standard deviation should."""
LEAST_PITCH_SIGMA_RAD = math.radians(0.3)
LEAST_LOG_F_SIGMA = 0.01
ROLL_SIGMA_RAD = math.radians(0.5)
_LEAST_SIGMA, MOST_SIGMA = 0.005, 0.6
_ROUNDS = 3
_SETTLED = 2e-3
_HEIGHTS_M = (0.02, 100.0)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One thing that tells the scale, as the logarithm of metres per unit of the geometry."""

    kind: str
    """`camera_height`, `measure`, `door`, ..., `tag`, `ceiling`, `exif`."""
    says: str
    """What it says, for a reader."""
    stated_m: float
    units: float
    """The same length in the geometry."""
    sigma: float
    """Relative, of itself: the statement, the clicks, the place."""
    by_camera: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """[3] derivative of the log length by pitch, roll [1/rad] and log focal length."""
    on_floor: bool = True
    """Whether it rests on the floor plane alone, and not on where a wall or an object was found to stand."""
    guess: bool = False
    """Gives way to anything that contradicts it."""

    @property
    def log_ratio(self) -> float:
        return math.log(self.stated_m / self.units)


@dataclass(frozen=True, kw_only=True)
class CameraDoubt:
    """How well the photo's camera is known; standard deviations."""

    pitch_rad: float
    roll_rad: float
    log_f: float

    @property
    def variances(self) -> np.ndarray:
        """[3]."""
        return np.array([self.pitch_rad, self.roll_rad, self.log_f]) ** 2


@dataclass(frozen=True, kw_only=True)
class ScaleEstimate:
    """Metres per unit and how far that may be off."""

    metres_per_unit: float
    relative_sigma: float
    """One standard deviation."""
    source: str
    """Kinds of evidence that decided, with commas."""
    evidence: tuple[dict[str, Any], ...] = ()
    """What each piece said, as JSON values."""
    report: Report = field(default_factory=Report)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "metres_per_unit": self.metres_per_unit,
            "source": self.source,
            "relative_sigma": round(self.relative_sigma, 4),
            "evidence": list(self.evidence),
        }


@dataclass(frozen=True, kw_only=True)
class ScaleClues:
    """What was said and found about a photo, before its geometry is asked."""

    photo: Photo
    annotations: tuple[Annotation, ...] = ()
    tags: tuple[Tag, ...] = ()
    tag_picture_px: tuple[int, int] = (1, 1)
    """Width and height of the picture that the tags were found in."""
    tag_size_m: float = 0.0
    subject_distance_m: float | None = None
    ceiling_height_m: float = 0.0


def scale_clues(
    photo: Photo, photo_bytes: bytes, scale: ScaleConfig, rescale: RescaleConfig | None = None
) -> ScaleClues:
    """Gather what the settings say and what the photo shows.

    Raises:
        InputError: tags or a subject distance are asked for and the photo has none.
    """
    asked = [scale] if rescale is None else [scale, rescale]
    size = next((cfg.tag_size_m for cfg in reversed(asked) if cfg.tag_size_m), 0.0)
    tags: tuple[Tag, ...] = ()
    picture = (1, 1)
    if size:
        family = next(cfg.tag_family for cfg in reversed(asked) if cfg.tag_size_m)
        large = decode_photo(photo_bytes, Path(photo.name), long_side_px=TAG_LONG_SIDE_PX).rgb_u8
        picture = (large.shape[1], large.shape[0])
        tags = find_tags(large, family)
        if not tags:
            what = "of any family" if family == "auto" else f"of family {family}"
            raise InputError(
                f"a tag size is given, but no AprilTag {what} was found; show one whole, sharp, with its white margin "
                f"and at least 12 px wide, or leave the size out: {photo.name}"
            )
    if any(cfg.exif_distance for cfg in asked) and photo.subject_distance_m is None:
        raise InputError(f"the photo's EXIF states no subject distance; leave out exif_distance: {photo.name}")
    return ScaleClues(
        photo=photo,
        annotations=tuple(dict.fromkeys(annotation for cfg in asked for annotation in cfg.annotations)),
        tags=tags,
        tag_picture_px=picture,
        tag_size_m=size,
        subject_distance_m=photo.subject_distance_m if any(cfg.exif_distance for cfg in asked) else None,
        ceiling_height_m=next((cfg.ceiling_height_m for cfg in reversed(asked) if cfg.ceiling_height_m), 0.0),
    )


def as_generated(geometry: PhotoGeometry) -> ScaleEstimate:
    """The scale of a world that nothing but a guessed camera height tells: its units are metres."""
    height = geometry.layout.camera_height_m
    guess = _camera_height(height, height, HEIGHT_SIGMA, guess=True)
    return ScaleEstimate(
        metres_per_unit=1.0,
        relative_sigma=geometry.relative_scale_sigma,
        source="camera_height",
        evidence=(_told(guess, 1.0, HEIGHT_SIGMA, used=True),),
    )


def metric_geometry(
    geometry: PhotoGeometry,
    estimate: Callable[[float], PhotoGeometry],
    clues: ScaleClues,
    config: WorldConfig,
) -> tuple[PhotoGeometry, ScaleEstimate]:
    """The photo's geometry at the size that the evidence tells, its doubt included; its units are metres.

    Args:
        geometry: with the configured camera height.
        estimate: understands the photo anew for another camera height, for sizes that are absolute: how high rooms
            are, how far anything is modelled.
        clues: what is known.
        config: of the world.

    Raises:
        InputError: evidence that cannot be used; the message quotes it.
    """
    doubt = camera_doubt(clues.photo, geometry)
    scale = fuse(gather(geometry, clues, config), geometry, doubt)
    for _ in range(_ROUNDS):
        if abs(math.log(scale.metres_per_unit)) < _SETTLED:
            break
        low, high = _HEIGHTS_M
        height = float(np.clip(geometry.layout.camera_height_m * scale.metres_per_unit, low, high))
        geometry = estimate(height)
        try:
            scale = fuse(gather(geometry, clues, config), geometry, doubt)
        except InputError as error:
            # At its true size a surface may lie beyond what is modelled; what it said before holds.
            scale.report.info("scale.beyond", f"{error}; its scale was read before the world had its true size")
            break
    return replace(geometry, relative_scale_sigma=scale.relative_sigma), replace(scale, metres_per_unit=1.0)


def rescaled(geometry: PhotoGeometry, clues: ScaleClues, config: WorldConfig) -> ScaleEstimate:
    """What the settings of `rescale` make of a finished world: metres per unit of its memory.

    Raises:
        InputError: evidence that cannot be used; the message quotes it.
    """
    rescale = config.rescale
    if rescale.factor:
        sigma = rescale.factor_sigma or geometry.relative_scale_sigma
        told = {"kind": "factor", "says": f"{rescale.factor:g} metres per unit", "used": True}
        return ScaleEstimate(metres_per_unit=rescale.factor, relative_sigma=sigma, source="factor", evidence=(told,))
    scale = fuse(gather(geometry, clues, config), geometry, camera_doubt(clues.photo, geometry))
    expect_factor("the scale that the evidence gives", scale.metres_per_unit)
    return scale


def camera_doubt(photo: Photo, geometry: PhotoGeometry) -> CameraDoubt:
    """How well the camera of a geometry is known: from the photo's lines, or by experience with depth models."""
    if geometry.backend != "embedded":
        log_f = EXIF_SIGMA_LOG_F if photo.hfov_rad is not None else 0.08
        return CameraDoubt(pitch_rad=math.radians(1.0), roll_rad=ROLL_SIGMA_RAD, log_f=log_f)
    estimate, _ = calibrated(np.ascontiguousarray(photo.rgb_u8), prior_for(photo), Notes([]))
    share = float(np.clip(1.2 - estimate.explained, *SPREAD_SHARES))
    return CameraDoubt(
        pitch_rad=math.hypot(share * estimate.sigma_pitch_rad, LEAST_PITCH_SIGMA_RAD),
        roll_rad=ROLL_SIGMA_RAD,
        log_f=math.hypot(share * estimate.sigma_log_f, LEAST_LOG_F_SIGMA),
    )


def gather(geometry: PhotoGeometry, clues: ScaleClues, config: WorldConfig) -> list[Evidence]:
    """All evidence about a geometry, the camera's height first.

    Raises:
        InputError: a pixel outside the photo or on the sky, a tag that lies nowhere; the message quotes it.
    """
    lift = PhotoLift(geometry)
    rescale = config.rescale
    if rescale.camera_height_m:
        sigma = rescale.camera_height_sigma or MEASURED_HEIGHT_SIGMA
        found = [_camera_height(rescale.camera_height_m, lift.height, sigma, guess=False)]
    else:
        sigma = config.scale.camera_height_sigma
        height = config.geometry.camera_height_m
        found = [_camera_height(height, lift.height, sigma or HEIGHT_SIGMA, guess=not sigma)]
    if (clues.annotations or clues.tags) and geometry.mode == BACKDROP:
        raise InputError(
            "nothing in this photo could be measured: no floor was found, so no pixel has a distance; give the camera "
            "height instead"
        )
    found += [_annotated(annotation, lift, clues.photo) for annotation in clues.annotations]
    found += _tagged(clues, lift)
    if clues.ceiling_height_m:
        found.append(_ceiling(clues.ceiling_height_m, geometry))
    if clues.subject_distance_m is not None:
        middle = 0.5 * np.array([lift.camera.width_px, lift.camera.height_px])
        length = lift.range_at(middle)
        says = f"EXIF: focused at {clues.subject_distance_m:g} m"
        found.append(_lifted("exif", says, clues.subject_distance_m, EXIF_DISTANCE_SIGMA, length, lift))
    return found


def fuse(evidence: list[Evidence], geometry: PhotoGeometry, doubt: CameraDoubt) -> ScaleEstimate:
    """The scale on which the evidence agrees, and findings about what contradicts it.

    A guess gives way to whatever contradicts it. Of three or more pieces the one that contradicts the others is left
    out; two that contradict each other both stay and make the doubt as large as their difference.
    """
    report = Report()
    typical = PhotoLift(geometry).typical()
    used, least = _agreeing([piece for piece in evidence if not piece.guess], doubt, report)
    for guess in (piece for piece in evidence if piece.guess):
        if used and abs(_against_others(guess, [*used, guess], doubt)) > CONTRADICTION:
            least = max(least, _doubt_without(guess, used, report))
        else:
            used = [guess, *used]
    mean, variance = _posterior(used, typical, doubt)
    whole = WHOLE_SIGMA / math.sqrt(_confidence(geometry))
    sigma = math.hypot(math.sqrt(variance), whole)
    told = []
    for piece in evidence:
        own = math.sqrt(piece.sigma**2 + doubt.variances @ (typical - piece.by_camera) ** 2 + whole**2)
        told.append(_told(piece, math.exp(mean), own, used=any(piece is other for other in used)))
    kinds = [piece.kind for piece in used if not piece.guess] or ["camera_height"]
    return ScaleEstimate(
        metres_per_unit=math.exp(mean),
        relative_sigma=float(np.clip(sigma, min(least, MOST_SIGMA), MOST_SIGMA)),
        source=", ".join(dict.fromkeys(kinds)),
        evidence=tuple(told),
        report=report,
    )


def _agreeing(pieces: list[Evidence], doubt: CameraDoubt, report: Report) -> tuple[list[Evidence], float]:
    """The pieces that do not contradict the others, and the least doubt that what contradicts them leaves."""
    used = list(pieces)
    while len(used) > 1:
        off = [abs(_against_others(piece, used, doubt)) for piece in used]
        worst = int(np.argmax(off))
        if off[worst] <= CONTRADICTION:
            break
        a, b = _worst_pair(used, doubt)
        report.warn(
            "scale.contradiction",
            f"{a.says} and {b.says} contradict each other: they make a unit {math.exp(a.log_ratio):.3g} and "
            f"{math.exp(b.log_ratio):.3g} m ({off[worst]:.1f} sigma); check both and leave out the wrong one",
            evidence=[a.says, b.says],
        )
        if len(used) == 2:
            return used, 0.5 * abs(a.log_ratio - b.log_ratio)
        used.pop(worst)
    return used, _LEAST_SIGMA


def _doubt_without(guess: Evidence, used: list[Evidence], report: Report) -> float:
    """Put a guess aside; returns the doubt that is left because nothing else confirms a lone length on a wall."""
    if len(used) > 1 or used[0].on_floor:
        report.info("scale.guess", f"{guess.says} does not fit what was measured and is put aside")
        return 0.0
    # Either people do not hold cameras so, or the surface stands elsewhere: one piece cannot tell.
    puts_m = guess.units * math.exp(used[0].log_ratio)
    report.warn(
        "scale.alone",
        f"{used[0].says} lies on a wall or an object and puts the camera {puts_m:.2f} m above the floor; measure "
        "something on the floor, too",
    )
    return 0.5 * abs(used[0].log_ratio - guess.log_ratio)


def _posterior(used: list[Evidence], typical: np.ndarray, doubt: CameraDoubt) -> tuple[float, float]:
    """Mean and variance of the log scale of a picture's median distance.

    The unknowns are the log scale of the camera's height and by how much the camera is off, [4].
    """
    rows = np.array([[1.0, *piece.by_camera] for piece in used])
    weight = np.array([1.0 / piece.sigma**2 for piece in used])
    precision = np.diag([0.0, *(1.0 / doubt.variances)]) + (rows * weight[:, None]).T @ rows
    covariance = np.linalg.inv(precision)
    mean = covariance @ (rows.T @ (weight * np.array([piece.log_ratio for piece in used])))
    asks = np.array([1.0, *typical])
    return float(asks @ mean), float(asks @ covariance @ asks)


def _against_others(piece: Evidence, used: list[Evidence], doubt: CameraDoubt) -> float:
    """How many standard deviations a piece is from what the others predict for it."""
    mean, variance = _posterior([other for other in used if other is not piece], piece.by_camera, doubt)
    return (piece.log_ratio - mean) / math.hypot(piece.sigma, math.sqrt(variance))


def _worst_pair(used: list[Evidence], doubt: CameraDoubt) -> tuple[Evidence, Evidence]:
    """The two pieces that contradict each other most."""

    def off(a: Evidence, b: Evidence) -> float:
        variance = a.sigma**2 + b.sigma**2 + doubt.variances @ (a.by_camera - b.by_camera) ** 2
        return abs(a.log_ratio - b.log_ratio) / math.sqrt(variance)

    return max(itertools.combinations(used, 2), key=lambda pair: off(*pair))


def _camera_height(stated_m: float, units: float, sigma: float, *, guess: bool) -> Evidence:
    says = f"the {'guessed ' if guess else ''}camera height of {stated_m:g} m"
    return Evidence(kind="camera_height", says=says, stated_m=stated_m, units=units, sigma=sigma, guess=guess)


def _annotated(annotation: Annotation, lift: PhotoLift, photo: Photo) -> Evidence:
    what = f"{'measure' if annotation.kind == 'measure' else 'known'} '{annotation.text[:80]}'"
    ends = working_px(np.array(annotation.ends_px).reshape(2, 2), photo.original_size_px, lift.camera, what)
    try:
        length = lift.upright(ends) if annotation.upright else lift.between(ends)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    stated, sigma = annotation.length_m, annotation.sigma_m / annotation.length_m
    return _lifted(annotation.kind, what, stated, sigma, length, lift)


def _tagged(clues: ScaleClues, lift: PhotoLift) -> list[Evidence]:
    """One piece for each tag that lies on something; raises `InputError` if none does."""
    if not clues.tags:
        return []
    found, why = [], "each is seen too flat"
    width, height = clues.tag_picture_px
    camera = lift.camera.resized(width, height)
    shrink = np.array([lift.camera.width_px / width, lift.camera.height_px / height])
    for tag in clues.tags:
        pose = tag_pose(tag, clues.tag_size_m, camera)
        if pose is None:
            continue
        middle, _ = camera.project(pose.centre_m)
        try:
            length = lift.range_at(middle * shrink)
        except InputError as error:
            why = str(error)
            continue
        # A longer lens puts the tag farther away, too.
        length = replace(length, by_camera=length.by_camera - np.array([0.0, 0.0, 1.0]), sigma=0.0)
        says = f"tag {tag.family} number {tag.number} of {clues.tag_size_m:g} m"
        found.append(_lifted("tag", says, float(np.linalg.norm(pose.centre_m)), pose.sigma, length, lift))
    if not found:
        raise InputError(f"no AprilTag of the photo could be used ({why}); leave out the tag size: {clues.photo.name}")
    return found


def _lifted(kind: str, says: str, stated_m: float, sigma: float, length: LiftedLength, lift: PhotoLift) -> Evidence:
    place = (FLOOR_SIGMA if length.on_floor else SURFACE_SIGMA) / _confidence(lift.geometry)
    return Evidence(
        kind=kind,
        says=says,
        stated_m=stated_m,
        units=length.units,
        sigma=math.hypot(sigma, length.sigma, place),
        by_camera=length.by_camera,
        on_floor=length.on_floor,
    )


def _confidence(geometry: PhotoGeometry) -> float:
    """How well the photo was understood, as far as that counts here."""
    return max(geometry.confidence, _LEAST_CONFIDENCE)


def _ceiling(stated_m: float, geometry: PhotoGeometry) -> Evidence:
    """The height of the ceiling, as it is seen above a wall in the typical distance."""
    layout = geometry.layout
    if layout.ceiling_m is None:
        raise InputError("a ceiling height is given, but the photo shows a place under open sky; leave it out")
    height, far = layout.camera_height_m, float(np.median(layout.boundary_m))
    down, up = math.atan2(height, far), math.atan2(layout.ceiling_m - height, far)
    rise = (layout.ceiling_m - height) / (math.sin(down) * math.cos(down)) + far / math.cos(up) ** 2
    return Evidence(
        kind="ceiling",
        says=f"the ceiling height of {stated_m:g} m",
        stated_m=stated_m,
        units=layout.ceiling_m,
        sigma=CEILING_SIGMA,
        on_floor=False,
        by_camera=np.array([rise / layout.ceiling_m, 0.0, 0.0]),
    )


def _told(piece: Evidence, metres_per_unit: float, sigma: float, *, used: bool) -> dict[str, Any]:
    """A piece for the manifest: what it says, and what the scaled world makes of it."""
    return {
        "kind": piece.kind,
        "says": piece.says,
        "stated_m": round(piece.stated_m, 4),
        "in_world_m": round(piece.units * metres_per_unit, 4),
        "metres_per_unit": round(math.exp(piece.log_ratio), 5),
        "relative_sigma": round(sigma, 4),
        "used": used,
    }

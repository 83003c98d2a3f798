"""What people write about a photo: distances between two pixels and things of known size, as short texts.

`x1,y1,x2,y2=0.9m` is a measured distance, `door:x1,y1,x2,y2` a thing whose size is usual. Pixels count in the photo as
viewers show it, upright, from its upper left corner. Several stand in one text with `;` between them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import ConfigError

UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
LENGTH_RANGE_M = (0.005, 500.0)
"""Shorter and longer distances in a photo are slips of units."""
MAX_ANNOTATIONS = 64
MEASURED_SIGMA, LEAST_SIGMA_M = 0.01, 0.005
"""Doubt of a length that somebody measured and stated without its doubt: relative, and at least [m]."""


@dataclass(frozen=True, kw_only=True)
class UsualSize:
    """A thing whose height hardly varies."""

    height_m: float
    sigma_m: float
    """One standard deviation among things of this kind [m]."""
    what: str


KNOWN_SIZES = {
    "door": UsualSize(height_m=2.03, sigma_m=0.05, what="a door leaf, from the floor to its upper edge"),
    "person": UsualSize(height_m=1.70, sigma_m=0.08, what="a standing adult, from the soles to the crown"),
    "handle": UsualSize(height_m=1.00, sigma_m=0.06, what="a door handle above the floor"),
    "worktop": UsualSize(height_m=0.90, sigma_m=0.03, what="a kitchen worktop above the floor"),
    "table": UsualSize(height_m=0.74, sigma_m=0.025, what="a table or desk top above the floor"),
    "seat": UsualSize(height_m=0.45, sigma_m=0.03, what="the seat of a chair or sofa above the floor"),
}
"""Sizes that people may refer to. Door: 6 ft 8 in and 1.98 to 2.1 m are the usual leaves; person: adults of both sexes;
the others: what ergonomic standards ask for and what is sold."""
MEASURED_HEIGHT = "height"
"""In place of a known thing: anything that stands on the floor and whose height is given."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Two pixels of the photo and the length between them."""

    kind: str
    """`measure`, or the name of a thing that stands upright on the floor."""
    ends_px: tuple[float, float, float, float]
    """x1, y1, x2, y2 in the photo as it is in the file, upright."""
    length_m: float
    sigma_m: float
    text: str
    """As it was written."""

    @property
    def upright(self) -> bool:
        """Whether it stands on the floor, its lower end in contact with it."""
        return self.kind != "measure"


@dataclass(frozen=True, kw_only=True)
class Measure3d:
    """Two points of a file and the length between them."""

    ends: tuple[tuple[float, float, float], tuple[float, float, float]]
    """In the axes and units of the file."""
    length_m: float
    sigma_m: float
    text: str
    """As it was written."""


def parse_measures3d(key_path: str, text: str) -> tuple[Measure3d, ...]:
    """The lengths in a text like `0,0,0:1.5,0,2=2.4m`, several with `;` between them; raises `ConfigError`."""
    parts = [" ".join(part.split()) for part in text.split(";") if part.strip()]
    if len(parts) > MAX_ANNOTATIONS:
        raise ConfigError(f"{key_path} holds {len(parts)} lengths; expected at most {MAX_ANNOTATIONS}")
    return tuple(_measure3d(key_path, part) for part in parts)


def _measure3d(key_path: str, text: str) -> Measure3d:
    where = f"{key_path} '{text[:80]}'"
    points, equals, length = text.partition("=")
    if not equals:
        raise ConfigError(f"{where} gives no length; expected x,y,z:x,y,z=0.9m")
    try:
        ends = [tuple(float(value) for value in point.split(",")) for point in points.split(":")]
    except ValueError:
        ends = []
    if len(ends) != 2 or not all(len(end) == 3 and all(math.isfinite(v) and abs(v) < 1e9 for v in end) for end in ends):
        raise ConfigError(f"{where}: '{points[:60]}' is no pair of points; expected x,y,z:x,y,z")
    if math.dist(*ends) <= 0:
        raise ConfigError(f"{where}: both ends are the same place; expected two points")
    metres, sigma = parse_length(where, length)
    a, b = ends
    return Measure3d(
        ends=((a[0], a[1], a[2]), (b[0], b[1], b[2])),
        length_m=metres,
        sigma_m=sigma or measured_sigma(metres),
        text=text,
    )


def parse_annotations(key_path: str, text: str, *, known: bool) -> tuple[Annotation, ...]:
    """The annotations in a text; raises `ConfigError` that quotes the one that makes no sense.

    Args:
        key_path: where the text comes from, for the message.
        text: one or several, with `;` between them; may be empty.
        known: `NAME:x1,y1,x2,y2[=LENGTH]` instead of `x1,y1,x2,y2=LENGTH`.
    """
    parts = [" ".join(part.split()) for part in text.split(";") if part.strip()]
    if len(parts) > MAX_ANNOTATIONS:
        raise ConfigError(f"{key_path} holds {len(parts)} annotations; expected at most {MAX_ANNOTATIONS}")
    return tuple((_known if known else _measure)(key_path, part) for part in parts)


def parse_length(where: str, text: str) -> tuple[float, float | None]:
    """Length and, if stated with `+-`, its doubt [m] of a text like `0.9m`, `3 ft` or `0.9+-0.01m`."""
    match = re.fullmatch(r"([0-9.eE+-]*?[0-9.])\s*(?:(?:\+-|±)\s*([0-9.]+))?\s*([a-zA-Z\"']*)", text.strip())
    value, sigma, unit = match.groups() if match else ("", None, "")
    try:
        length, doubt = float(value), None if sigma is None else float(sigma)
    except ValueError:
        raise ConfigError(f"{where}: '{text[:40]}' is no length; expected a number with a unit, like 0.9m") from None
    if unit not in UNITS_M:
        wrong = f"has the unit '{unit[:12]}'" if unit else "has no unit"
        raise ConfigError(f"{where}: the length '{text[:40]}' {wrong}; expected one of: {', '.join(UNITS_M)}")
    low, high = LENGTH_RANGE_M
    if not (math.isfinite(length) and low <= length * UNITS_M[unit] <= high):
        raise ConfigError(f"{where}: the length is {text[:40]}; expected {low:g} m to {high:g} m")
    if doubt is not None and not (math.isfinite(doubt) and 0.0 < doubt < length):
        raise ConfigError(f"{where}: the doubt of '{text[:40]}' makes no sense; expected less than the length itself")
    return length * UNITS_M[unit], None if doubt is None else doubt * UNITS_M[unit]


def _measure(key_path: str, text: str) -> Annotation:
    where = f"{key_path} '{text[:80]}'"
    pixels, equals, length = text.partition("=")
    if not equals:
        raise ConfigError(f"{where} gives no length; expected x1,y1,x2,y2=0.9m")
    ends = _ends(where, pixels)
    metres, sigma = parse_length(where, length)
    return Annotation(kind="measure", ends_px=ends, length_m=metres, sigma_m=sigma or measured_sigma(metres), text=text)


def _known(key_path: str, text: str) -> Annotation:
    where = f"{key_path} '{text[:80]}'"
    name, colon, rest = text.partition(":")
    name = name.strip().lower()
    names = ", ".join((*KNOWN_SIZES, MEASURED_HEIGHT))
    if not colon or (name not in KNOWN_SIZES and name != MEASURED_HEIGHT):
        raise ConfigError(f"{where} names no thing of known size; expected NAME:x1,y1,x2,y2, NAME one of: {names}")
    pixels, equals, length = rest.partition("=")
    ends = _ends(where, pixels)
    if equals:
        metres, sigma = parse_length(where, length)
        sigma = sigma or measured_sigma(metres)
    elif name == MEASURED_HEIGHT:
        raise ConfigError(f"{where} gives no length; expected {MEASURED_HEIGHT}:x1,y1,x2,y2=1.2m")
    else:
        metres, sigma = KNOWN_SIZES[name].height_m, KNOWN_SIZES[name].sigma_m
    return Annotation(kind=name, ends_px=ends, length_m=metres, sigma_m=sigma, text=text)


def measured_sigma(length_m: float) -> float:
    """One standard deviation [m] of a length that was measured, when nobody says better."""
    return max(MEASURED_SIGMA * length_m, LEAST_SIGMA_M)


def _ends(where: str, text: str) -> tuple[float, float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not all(math.isfinite(v) and abs(v) < 1e6 for v in values):
        raise ConfigError(f"{where}: '{text[:60]}' is no pair of pixels; expected four numbers x1,y1,x2,y2")
    x1, y1, x2, y2 = values
    if math.hypot(x2 - x1, y2 - y1) < 4.0:
        raise ConfigError(f"{where}: both ends are the same place; expected two pixels well apart")
    return x1, y1, x2, y2

"""What one variant is: values drawn from ranges. Variant k depends on the seed and k alone, so a longer list keeps the
shorter one, and each axis has a stream of its own, so a range that changes leaves the other axes as they were.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import Range, VaryConfig

SURFACE_KINDS = ("floor", "wall", "ceiling", "object")
"""Kinds of colliders whose materials vary."""
WHITE_K = 6500.0
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class LampDraw:
    """Light of one lamp that the photo shows."""

    share: float
    """Of the light of all of them, as they are."""
    factor: float
    """Of its intensity; 0 is off."""
    temperature_k: float


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The values of one variant, rounded as they are recorded; files are written from these."""

    index: int
    dome: float
    lamp: float
    temperature_k: float
    lamps: tuple[LampDraw, ...]
    """Of lamps found in the photo; without any, the scene's own lamp hangs there."""
    sun: float
    sun_elevation_deg: float
    sun_azimuth_deg: float
    """From +X towards +Y."""
    sun_temperature_k: float
    exposure_ev: float
    auto_exposure: bool
    white_balance_k: float
    haze: float
    albedo: tuple[float, float, float]
    """Factors of reflected red, green and blue light."""
    roughness: float
    friction: Mapping[str, float]
    """Factor by kind of surface."""
    restitution: Mapping[str, float]
    """What is added, by kind of surface."""
    within_published: bool
    """Whether friction stays in the range that is published for the material."""
    style: int | None
    """Which style its surfaces have; None for those of the base."""
    mirrored: bool
    clutter: int
    """How many things are wanted."""
    floaters: int

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        plain = dataclasses.asdict(self)
        return {**plain, "albedo": list(self.albedo), "lamps": [dataclasses.asdict(lamp) for lamp in self.lamps]}


def stream(seed: int, index: int, axis: str) -> np.random.Generator:
    """The random stream of one axis of one variant."""
    return np.random.default_rng([seed, index, zlib.crc32(axis.encode())])


def draw(cfg: VaryConfig, *, seed: int, index: int, lamp_shares: Sequence[float] = ()) -> Draw:
    """Values of variant `index`, each within its range; with the shares of light of the lamps that were found."""

    def number(axis: str, bounds: Range, scale: Callable[[float], float], back: Callable[[float], float]) -> float:
        low, high = bounds
        between = stream(seed, index, axis).random()
        value = back(scale(low) + between * (scale(high) - scale(low))) if low < high else low
        # Rounding and the way there and back may leave the range by a hair.
        return float(min(max(round(value, DIGITS), low), high))

    def even(axis: str, bounds: Range) -> float:
        return number(axis, bounds, lambda v: v, lambda v: v)

    def factor(axis: str, bounds: Range) -> float:
        """As often halved as doubled."""
        if bounds[0] <= 0:
            return even(axis, bounds)
        return number(axis, bounds, math.log, math.exp)

    def kelvin(axis: str, bounds: Range) -> float:
        """Even in how different colours look, which is the reciprocal."""
        return number(axis, bounds, lambda v: 1 / v, lambda v: 1 / v)

    def count(axis: str, bounds: Range) -> int:
        return int(stream(seed, index, axis).integers(int(bounds[0]), int(bounds[1]) + 1))

    def lamp(k: int, share: float) -> LampDraw:
        lit = k == brightest or stream(seed, index, f"lamp on {k}").random() < light.lit
        each = factor(f"lamp {k}", light.each) if lit else 0.0
        return LampDraw(share=share, factor=each, temperature_k=kelvin(f"lamp temperature {k}", light.temperature_k))

    light, camera, surface = cfg.light, cfg.camera, cfg.surface
    lit = [stream(seed, index, f"lamp on {k}").random() < light.lit for k in range(len(lamp_shares))]
    # A room is never dark: the largest lamp is on where no other is.
    brightest = -1 if any(lit) or not lit else int(np.argmax(lamp_shares))
    brightness = factor("brightness", surface.brightness)
    tint = even("tint", surface.tint)
    hue = stream(seed, index, "hue").uniform(-0.5, 0.5, 3)
    spread = float(np.ptp(hue))
    albedo = [round(float(v), DIGITS) for v in brightness * (1.0 + tint * (hue - hue.mean()) / spread)]
    return Draw(
        index=index,
        dome=factor("dome", light.dome),
        lamp=factor("lamp", light.lamp),
        temperature_k=kelvin("temperature", light.temperature_k),
        lamps=tuple(lamp(k, share) for k, share in enumerate(lamp_shares)),
        sun=even("sun", light.sun),
        sun_elevation_deg=even("sun_elevation", light.sun_elevation_deg),
        sun_azimuth_deg=even("sun_azimuth", (0.0, 360.0)),
        sun_temperature_k=kelvin("sun_temperature", light.sun_temperature_k),
        exposure_ev=even("exposure", camera.exposure_ev),
        auto_exposure=camera.auto_exposure,
        white_balance_k=kelvin("white_balance", camera.white_balance_k),
        haze=even("haze", camera.haze),
        albedo=(albedo[0], albedo[1], albedo[2]),
        roughness=even("roughness", surface.roughness),
        friction={kind: factor(f"friction {kind}", surface.friction) for kind in SURFACE_KINDS},
        restitution={kind: even(f"restitution {kind}", surface.restitution) for kind in SURFACE_KINDS},
        within_published=surface.within_published,
        style=count("style", (0, cfg.styles.count - 1))
        if stream(seed, index, "restyle").random() < surface.restyle
        else None,
        mirrored=bool(stream(seed, index, "mirrored").random() < cfg.layout.mirrored),
        clutter=count("clutter", cfg.clutter.count),
        floaters=count("floaters", cfg.splats.floaters),
    )

"""What drawn light, camera and surfaces do to the colours of lights, and of pictures that have no shading."""

from __future__ import annotations

import numpy as np

from ..core.colour import ColourEdit, display_gain
from ..core.optional import require
from .draw import WHITE_K, Draw

LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Shares of linear red, green and blue in brightness (ITU-R BT.709)."""
LAMP_SHARE = 0.7
"""Share of a room's light that comes from its lamp, the rest from the dome; a guess, for pictures without shading."""


def white_of(temperature_k: float) -> np.ndarray:
    """Linear red, green and blue [3] of a black body's light, over those at 6500 K, as OpenUSD has them."""
    UsdLux = require("pxr.UsdLux", extra="sim", package="usd-core")
    return np.array(UsdLux.BlackbodyTemperatureAsRgb(temperature_k)) / UsdLux.BlackbodyTemperatureAsRgb(WHITE_K)


def camera_factor(drawn: Draw) -> np.ndarray:
    """Factors [3] of red, green and blue light by the camera's white balance; its exposure is left out."""
    return 1.0 / white_of(drawn.white_balance_k)


def exposure_ev(drawn: Draw, *, indoors: bool) -> float:
    """Stops by which a camera takes the scene brighter: what was drawn, after it got used to the light if it does."""
    if not drawn.auto_exposure:
        return drawn.exposure_ev
    return drawn.exposure_ev - float(np.log2(max(LUMINANCE @ _light(drawn, indoors=indoors), 1e-6)))


def mean_light(drawn: Draw, *, indoors: bool) -> np.ndarray:
    """Factors [3] of the light that a place has on average, as a camera takes it; shadows and directions left out."""
    return _light(drawn, indoors=indoors) * 2.0 ** exposure_ev(drawn, indoors=indoors) * camera_factor(drawn)


def _light(drawn: Draw, *, indoors: bool) -> np.ndarray:
    lamp_share = LAMP_SHARE if indoors else 0.0
    white = white_of(drawn.temperature_k)
    lamps = drawn.lamp * white
    if drawn.lamps:
        lit = (lamp.share * lamp.factor * white_of(lamp.temperature_k) for lamp in drawn.lamps)
        lamps = drawn.lamp * np.sum(list(lit), axis=0)
    light = (1 - lamp_share) * drawn.dome * white + lamp_share * lamps
    if not indoors:
        risen = np.sin(np.radians(drawn.sun_elevation_deg))
        light = light + drawn.dome * drawn.sun * risen * white_of(drawn.sun_temperature_k)
    return light


def visual_edit(drawn: Draw, *, indoors: bool) -> ColourEdit:
    """For the mesh, whose texture has the surfaces' own factor already."""
    return _edit(mean_light(drawn, indoors=indoors), drawn.haze)


def splat_edit(drawn: Draw, *, indoors: bool) -> ColourEdit:
    """For splats, in which light and surfaces are one."""
    return _edit(mean_light(drawn, indoors=indoors) * np.array(drawn.albedo), drawn.haze)


def _edit(light: np.ndarray, haze: float) -> ColourEdit:
    r, g, b = (float(v) for v in np.round(display_gain(light) * (1 - haze), 6))
    return ColourEdit(gain=(r, g, b), offset=(haze, haze, haze))

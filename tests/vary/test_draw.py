"""Draws lie in their ranges and depend on seed and number alone; ranges that make no sense are refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.schema import resolved_dict
from lyra.worldgen.vary.config import MILD, VaryConfig, load_vary_config, vary_config_from_dict
from lyra.worldgen.vary.draw import SURFACE_KINDS, draw

PRESETS = sorted((Path(__file__).resolve().parents[2] / "config" / "randomization").glob("*.yaml"))
AXES = {
    "dome": ("light", "dome"),
    "lamp": ("light", "lamp"),
    "temperature_k": ("light", "temperature_k"),
    "sun": ("light", "sun"),
    "sun_elevation_deg": ("light", "sun_elevation_deg"),
    "sun_temperature_k": ("light", "sun_temperature_k"),
    "exposure_ev": ("camera", "exposure_ev"),
    "white_balance_k": ("camera", "white_balance_k"),
    "haze": ("camera", "haze"),
    "roughness": ("surface", "roughness"),
    "clutter": ("clutter", "count"),
    "floaters": ("splats", "floaters"),
}
"""Value of a draw: its section and range."""


def within(low: float, high: float, *, whole: bool = False) -> st.SearchStrategy[list[float]]:
    numbers = st.integers(int(low), int(high)) if whole else st.floats(low, high)
    return st.tuples(numbers, numbers).map(sorted).map(list)


@st.composite
def configs(draw_value: st.DrawFn) -> VaryConfig:
    """Any ranges that are allowed."""
    plain: dict = {}
    for section in dataclasses.fields(VaryConfig):
        cls = type(getattr(VaryConfig(), section.name))
        for name, (low, high) in cls.limits.items():
            if isinstance(getattr(cls(), name), float):
                plain.setdefault(section.name, {})[name] = draw_value(st.floats(low, high))
            else:
                plain.setdefault(section.name, {})[name] = draw_value(within(low, high, whole=name in cls.whole))
    return vary_config_from_dict(plain)


@given(cfg=configs(), seed=st.integers(0, 2**32 - 1), index=st.integers(0, 4095))
def test_draws_lie_in_their_ranges(cfg, seed, index):
    """Every value of every variant, whatever the ranges."""
    drawn = draw(cfg, seed=seed, index=index)
    for name, (section, field) in AXES.items():
        low, high = getattr(getattr(cfg, section), field)
        assert low <= getattr(drawn, name) <= high, name
    low, high = cfg.surface.brightness
    spread = cfg.surface.tint[1]
    assert all(low * (1 - spread) - 1e-6 <= v <= high * (1 + spread) + 1e-6 for v in drawn.albedo)
    assert max(drawn.albedo) - min(drawn.albedo) <= high * spread + 2e-6
    for kind in SURFACE_KINDS:
        assert cfg.surface.friction[0] <= drawn.friction[kind] <= cfg.surface.friction[1]
        assert cfg.surface.restitution[0] <= drawn.restitution[kind] <= cfg.surface.restitution[1]
    assert 0 <= drawn.sun_azimuth_deg <= 360
    if cfg.layout.mirrored in (0.0, 1.0):
        assert drawn.mirrored == bool(cfg.layout.mirrored)
    assert draw(cfg, seed=seed, index=index) == drawn


def test_axes_do_not_disturb_one_another(ranges):
    """A range that changes leaves the draws of all other axes as they were, and variants differ from one another."""
    other = dataclasses.replace(ranges, light=dataclasses.replace(ranges.light, dome=(3.0, 4.0)))
    for index in range(8):
        a, b = draw(ranges, seed=1000, index=index), draw(other, seed=1000, index=index)
        assert a.dome != b.dome and dataclasses.replace(b, dome=a.dome) == a
    drawn = [draw(ranges, seed=1000, index=k) for k in range(64)]
    assert len({d.exposure_ev for d in drawn}) == 64
    assert 0.25 < np.mean([d.mirrored for d in drawn]) < 0.75


def test_defaults_change_nothing():
    """Without a file that says so, nothing varies."""
    drawn = draw(VaryConfig(), seed=1000, index=3)
    assert (drawn.dome, drawn.lamp, drawn.sun, drawn.exposure_ev, drawn.haze) == (1.0, 1.0, 0.0, 0.0, 0.0)
    assert drawn.albedo == (1.0, 1.0, 1.0) and not drawn.mirrored and drawn.clutter == drawn.floaters == 0
    assert set(drawn.friction.values()) == {1.0} and set(drawn.restitution.values()) == {0.0}


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_presets_are_read(path):
    """Every file of the repository holds known ranges."""
    assert load_vary_config(path) != VaryConfig()


def test_no_file_means_mild(repository):
    """The ranges in the package are those of the file that the help names."""
    assert load_vary_config() == load_vary_config(repository / "config" / "randomization" / "mild.yaml")
    assert resolved_dict(load_vary_config()) == resolved_dict(vary_config_from_dict(MILD))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"light": {"dom": [1, 2]}}, "unknown key light.dom; did you mean 'dome'"),
        ({"light": {"dome": [2, 1]}}, r"light.dome is \[2, 1\]; expected a range, low before high"),
        ({"light": {"dome": [0, 1000]}}, "in 0 to 100"),
        ({"light": {"dome": 1.0}}, r"light.dome is 1.0; expected a range of two numbers"),
        ({"light": {"dome": [1, 2, 3]}}, "expected a range of two numbers"),
        ({"light": {"dome": [1, "2"]}}, "expected a range of two numbers"),
        ({"light": {"dome": [1, float("nan")]}}, "expected a range of two numbers"),
        ({"light": {"dome": [True, 2]}}, "expected a range of two numbers"),
        ({"clutter": {"count": [0.5, 2]}}, "clutter.count .* expected whole numbers"),
        ({"clutter": {"blocking": "no"}}, "clutter.blocking is 'no'; expected true or false"),
        ({"layout": {"mirrored": 1.5}}, "layout.mirrored is 1.5; expected 0.0 to 1.0"),
        ({"lights": {}}, "unknown key lights; did you mean 'light'"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(values, said):
    """The message names the key and what is expected."""
    with pytest.raises(ConfigError, match=said):
        vary_config_from_dict(values)

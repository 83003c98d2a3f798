"""What people write about a photo is understood, or refused in one line that quotes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.annotations import KNOWN_SIZES, UNITS_M, parse_annotations, parse_length
from lyra.worldgen.core.config import ScaleConfig, load_config
from lyra.worldgen.core.errors import ConfigError


@given(st.floats(0.02, 90.0), st.sampled_from(sorted(UNITS_M)))
def test_units(metres, unit):
    """A length is the same in every unit."""
    value = metres / UNITS_M[unit]
    assert parse_length("here", f"{value!r}{unit}")[0] == pytest.approx(metres)
    assert parse_length("here", f" {value!r} {unit} ")[0] == pytest.approx(metres)


def test_measures_and_known_things():
    """Several in one text; a stated doubt replaces the usual one, a stated size the usual size."""
    a, b = parse_annotations("scale.measure", "1,2,30.5,40=0.9m; 5,6,70,80=3+-0.1ft;", known=False)
    assert a.ends_px == (1.0, 2.0, 30.5, 40.0) and a.length_m == 0.9 and a.sigma_m == pytest.approx(0.009)
    assert b.length_m == pytest.approx(0.9144) and b.sigma_m == pytest.approx(0.03048)
    door, own, box = parse_annotations(
        "scale.known", "door:1,2,3,400; Door:1,2,3,400=1.98m; height:9,9,9,99=40cm", known=True
    )
    assert (door.length_m, door.sigma_m) == (KNOWN_SIZES["door"].height_m, KNOWN_SIZES["door"].sigma_m)
    assert own.length_m == 1.98 and own.sigma_m == pytest.approx(0.0198)
    assert box.kind == "height" and box.sigma_m == pytest.approx(0.005)
    assert all(piece.upright for piece in (door, own, box)) and not a.upright


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,40", "gives no length"),
        ("1,2,3=0.9m", "no pair of pixels"),
        ("a,b,c,d=0.9m", "no pair of pixels"),
        ("nan,2,3,40=0.9m", "no pair of pixels"),
        ("1e99,2,3,40=0.9m", "no pair of pixels"),
        ("5,5,5,5=0.9m", "the same place"),
        ("1,2,3,40=0.9", "has no unit; expected one of: m, cm"),
        ("1,2,3,40=0.9yd", "has the unit 'yd'"),
        ("1,2,3,40=900m", "expected 0.005 m to 500 m"),
        ("1,2,3,40=-1m", "expected 0.005 m to 500 m"),
        ("1,2,3,40=0m", "expected 0.005 m to 500 m"),
        ("1,2,3,40=nanm", "is no length"),
        ("1,2,3,40=m", "is no length"),
        ("1,2,3,40=1+-2m", "the doubt of"),
        ("1,2,3,40=", "is no length"),
        (";".join(["1,2,3,40=1m"] * 65), "at most 64"),
    ],
)
def test_bad_measures_are_quoted(text, message):
    """One line that says what is wrong and what is expected."""
    with pytest.raises(ConfigError, match=message) as error:
        ScaleConfig(measure=text)
    assert str(error.value).startswith("scale.measure") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dor:1,2,3,40", "names no thing of known size"),
        ("1,2,3,40", "names no thing of known size"),
        ("height:1,2,3,40", "gives no length"),
        ("door:1,2", "no pair of pixels"),
    ],
)
def test_bad_things_are_quoted(text, message):
    """The names that are known stand in the message."""
    with pytest.raises(ConfigError, match=message):
        ScaleConfig(known=text)


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text):
    """Nothing but a ConfigError comes out of hostile text."""
    for known in (False, True):
        try:
            parse_annotations("scale.measure", text, known=known)
        except ConfigError as error:
            assert "\n" not in str(error) and len(str(error)) < 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale.tag_size_m": -1.0}, "scale.tag_size_m is -1.0"),
        ({"scale.tag_family": "36h12"}, "did you mean '36h11'"),
        ({"scale.ceiling_height_m": 0.1}, "scale.ceiling_height_m is 0.1"),
        ({"rescale.factor": 1e6}, "rescale.factor is 1000000.0"),
        ({"rescale.factor": -1.0}, "rescale.factor is -1.0"),
        ({"rescale.factor": 2.0, "rescale.camera_height_m": 1.0}, "give one of the two"),
        ({"rescale.camera_height_sigma": 0.1}, "without rescale.camera_height_m"),
        ({"rescale.measure": "x"}, "rescale.measure 'x' gives no length"),
    ],
)
def test_settings_are_checked(settings, message):
    """Ranges and choices, by key path."""
    with pytest.raises(ConfigError, match=message):
        load_config(None, settings)

"""Materials repeat without a seam, are what they were drawn as, and lie on surfaces in metres."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("cv2")

from lyra.worldgen.vary.materials import MATERIALS, PX_PER_M, SHEET_PX, SIDE_M, Sheet, make_sheet
from lyra.worldgen.vary.restyle import SheetReader


@pytest.mark.parametrize("name", sorted(MATERIALS))
def test_sheets_repeat(name):
    """Across the border a sheet changes as it does inside; the same draw gives the same sheet, another another."""
    sheet = make_sheet(name, np.random.default_rng([3, 1]))
    assert sheet.rgb.shape == (SHEET_PX, SHEET_PX, 3) and sheet.rgb.dtype == np.float32
    assert 0 <= sheet.rgb.min() and sheet.rgb.max() <= 1
    assert np.array_equal(sheet.rgb, make_sheet(name, np.random.default_rng([3, 1])).rgb)
    assert not np.array_equal(sheet.rgb, make_sheet(name, np.random.default_rng([3, 2])).rgb)
    for axis in (0, 1):
        step = np.abs(np.diff(sheet.rgb, axis=axis, append=sheet.rgb.take([0], axis))).mean((1 - axis, 2))
        assert step[-1] <= step[:-1].max() + 1e-4


def test_boards_are_as_wide_as_stated():
    """Joints of boards stand a whole number of times in a sheet, at the width that is recorded."""
    sheet = make_sheet("wood", np.random.default_rng(11))
    width = sheet.facts["board_m"][0]
    assert 0.08 <= width <= 0.23 and SIDE_M / width == pytest.approx(round(SIDE_M / width), rel=1e-3)
    rows = sheet.rgb.mean((1, 2))
    spectrum = np.abs(np.fft.rfft(rows - rows.mean()))
    count = round(SIDE_M / width)
    assert spectrum[count] > 5 * np.median(spectrum)


def test_readers_read_in_metres():
    """A place on the surface has the colour of its pixel; the sheet repeats; wide places see means."""
    rgb = np.random.default_rng(5).uniform(0.2, 0.8, (SHEET_PX, SHEET_PX, 3)).astype(np.float32)
    reader = SheetReader(Sheet(rgb=rgb))
    pixels = np.random.default_rng(6).integers(0, SHEET_PX, (500, 2))
    uv = ((pixels + 0.5) / PX_PER_M).astype(np.float32)
    fine = np.full(500, 1 / PX_PER_M, np.float32)
    want = rgb[pixels[:, 1], pixels[:, 0]]
    np.testing.assert_allclose(reader.at(uv, fine), want, atol=0.02)
    np.testing.assert_allclose(reader.at(uv - np.float32(3 * SIDE_M), fine), want, atol=0.02)
    wide = reader.at(uv, np.full(500, 32 / PX_PER_M, np.float32))
    assert wide.std() < 0.1 * want.std() and abs(wide.mean() - rgb.mean()) < 0.01
    turned = SheetReader(Sheet(rgb=rgb), turn_rad=np.pi / 2)
    np.testing.assert_allclose(turned.at(np.stack([-uv[:, 1], uv[:, 0]], -1), fine), want, atol=0.03)

"""A panorama as an imported scene: what its size rests on, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lyra.worldgen.core.config import config_from_dict
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.generation.panorama_geometry import PanoramaWorld
from lyra.worldgen.generation.panorama_upright import Upright
from lyra.worldgen.importing import panorama_source
from lyra.worldgen.importing.kinds import READERS, find_source
from rooms import analytic_room


@pytest.fixture
def panorama(tmp_path: Path) -> Path:
    Image.new("RGB", (128, 64), (90, 120, 150)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def understood(monkeypatch) -> None:
    """The panorama is taken for an analytic room, 2.8 m high, seen from 1.5 m."""
    room = analytic_room()
    upright = Upright(R_level_pano=np.eye(3), tilt_rad=0.02, yaw_rad=0.0, explained=0.7, zenith_share=0.3)

    def panorama_world_fake(panorama, cfg, *, progress) -> PanoramaWorld:
        return PanoramaWorld(geometry=room.geometry(), views=room.views(), upright=upright)

    monkeypatch.setattr(panorama_source, "panorama_world", panorama_world_fake)


def read(path: Path, **sections: dict[str, object]):
    return READERS.load("panorama")(find_source(path), config_from_dict(sections))


def test_the_size_rests_on_what_is_known(panorama, understood):
    """A usual camera height is doubtful, a stated one is not, and a measured ceiling sets the scale."""
    scene = read(panorama)
    assert scene.scale.source == "usual camera height" and scene.scale.metres_per_unit == 1.0
    assert scene.facts["tilt_deg"] == pytest.approx(1.15, abs=0.01) and scene.facts["size_px"] == [128, 64]
    known = read(panorama, scale={"camera_height_sigma": 0.01})
    assert known.scale.source == "camera height" and known.scale.relative_sigma == pytest.approx(0.01)
    measured = read(panorama, source={"ceiling_height_m": 3.5})
    assert measured.scale.source == "ceiling height"
    assert measured.scale.metres_per_unit == pytest.approx(3.5 / 2.8)


@pytest.mark.parametrize(
    "hint", [{"up": "y"}, {"units": "cm"}, {"metres_per_unit": 2.0}, {"measure3d": "0,0,0:1,0,0=1m"}]
)
def test_hints_for_other_kinds_are_refused(panorama, hint):
    """Axes and units belong to files that have coordinates."""
    with pytest.raises(InputError, match=r"says nothing about a panorama.*a\.png"):
        read(panorama, source=hint)


@pytest.mark.slow
def test_a_picture_of_nothing_is_refused(panorama):
    """One flat colour shows neither floor nor walls."""
    with pytest.raises(InputError, match=r"cannot be told apart.*a\.png"):
        read(panorama)

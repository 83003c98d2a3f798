"""An import is a job like `generate`: resumable, idempotent, and its world behaves like every other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.build import extend_world, finish_world, import_world, rescale_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import RescaleConfig, config_from_dict
from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.views import WorldViews
from lyra.worldgen.core.world import load_world
from lyra.worldgen.importing.kinds import READERS
from lyra.worldgen.importing.records import ImportedScale, ImportedScene
from rooms import AnalyticRoom

CONFIG = config_from_dict({"source": {"licence": "CC-BY-4.0"}})


def read_fake(source, config, *, progress) -> ImportedScene:
    """Two views of a room, whatever the file."""
    room = AnalyticRoom(
        lo_m=(-1.0, -2.0, 0.0),
        hi_m=(3.0, 2.0, 2.5),
        boxes_m=(),
        camera=PinholeCamera.from_hfov(24, 18, 1.2),
        T_world_cam=camera_pose(np.array([0.0, 0.0, 1.5])),
    )
    second = room.render(None, camera_pose(np.array([0.5, 0.0, 1.5]), heading_rad=2.0), view_id=1)
    return ImportedScene(
        scale=ImportedScale(metres_per_unit=0.5, source="units", relative_sigma=0.01),
        views=WorldViews(views=[room.render(), second], Ts_world_path=room.T_world_cam[None]),
        facts={"confidence": 0.8, "up": "z"},
    )


@pytest.fixture
def panorama(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(READERS.entries, "panorama", f"{__name__}:read_fake")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0picture")
    return path


def test_an_import_is_a_job(panorama, tmp_path):
    """The manifest names source, kind, licence and scale; the same call again changes nothing; another is refused."""
    out = tmp_path / "world"
    world = import_world(panorama, out, CONFIG, until="import")
    origin = world.manifest.photo
    assert (origin.name, origin.kind, origin.licence, origin.imported) == ("a.jpg", "panorama", "CC-BY-4.0", True)
    assert load_world(out).manifest == world.manifest
    assert world.manifest.licence == "CC-BY-4.0" and world.manifest.confidence == 0.8
    assert world.manifest.scale is not None and world.manifest.scale.metres_per_unit == 0.5
    assert len(world.views().views) == 2
    before = (out / "world.json").read_bytes()
    assert import_world(panorama, out, CONFIG, until="import").manifest == world.manifest
    assert (out / "world.json").read_bytes() == before
    with pytest.raises(InputError, match="other settings"):
        import_world(panorama, out, until="import")
    panorama.write_bytes(b"\xff\xd8\xff\xe0another")
    with pytest.raises(InputError, match=r"another file \(a.jpg\)"):
        import_world(panorama, out, CONFIG, until="import")
    with pytest.raises(InputError, match="no exploration to extend"):
        extend_world(out, path="turn")
    with pytest.raises(InputError, match="no photo to measure in"):
        rescale_world(out, RescaleConfig(camera_height_m=1.2))
    assert finish_world(out, until="import").manifest == world.manifest


def test_unknown_kinds_and_bad_settings_are_refused(tmp_path):
    """Before anything is written."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    with pytest.raises(ConfigError, match="give one of the two"):
        config_from_dict({"source": {"units": "cm", "metres_per_unit": 0.01}})
    with pytest.raises(ConfigError, match="x,y,z:x,y,z"):
        config_from_dict({"source": {"measure3d": "1,2:3,4=1m"}})
    with pytest.raises(InputError, match="the file does not exist"):
        import_world(tmp_path / "no.ply", tmp_path / "world")
    assert not (tmp_path / "world").exists()

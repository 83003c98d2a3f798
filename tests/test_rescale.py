"""A finished world at another size: the very world that would have been generated so, whatever else happened to it."""

from __future__ import annotations

import io
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_stages import content
from lyra.worldgen.build import (
    Stage,
    StageContext,
    Stages,
    build_world,
    extend_world,
    finish_world,
    rescale_world,
    undo_world,
)
from lyra.worldgen.build import stages as build_stages
from lyra.worldgen.build.stages import default_stages
from lyra.worldgen.certify.world_data import read_path_poses, read_world
from lyra.worldgen.core.chunks import Chunk
from lyra.worldgen.core.config import RescaleConfig, load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.frames import camera_pose
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.store import save_explored, save_geometry
from lyra.worldgen.core.world import load_world
from lyra.worldgen.generation.photo import decode_photo
from lyra.worldgen.generation.scale import as_generated
from lyra.worldgen.reconstruction.splat_io import read_splats
from rooms import analytic_room

ROOM = analytic_room()
TINY = {
    "reconstruction.texture_px": 64,
    "reconstruction.splat_budget": 1000,
    "simulation.rest_faces": 100,
    "simulation.cell_m": 0.2,
    "simulation.episode_count": 3,
}
NEW_SIZE = RescaleConfig(factor=0.8)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """Flushing is for power cuts, which no test makes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def room_stages(broken: str = "") -> Stages:
    """An analytic room in place of what is understood and explored, one chunk a leg; the rest is real."""
    real = {stage.name: stage for stage in default_stages().items}

    def understand(context: StageContext) -> None:
        notes = context.notes
        (notes.folder / "memory").mkdir()
        geometry = replace(ROOM.geometry(), relative_scale_sigma=0.15)
        save_geometry(notes.folder / "memory" / "geometry.npz", geometry)
        (notes.folder / "photo.png").write_bytes(context.photo_bytes)
        notes.facts = {"mode": "manhattan", "confidence": 1.0, "scale": as_generated(geometry).as_dict()}

    def explore(context: StageContext) -> None:
        notes = context.notes
        legs = context.manifest.journey or (Leg(path=context.config.generation.path),)
        seen = []
        for index, leg in enumerate(legs):
            key = f"{leg.path} {leg.pose_scale}"
            chunk = context.chunks.load_chunk(index, key)
            if chunk is None:
                pose = camera_pose(np.array([0.3 * index, 0.0, 1.5]), heading_rad=np.radians(70.0 * index))
                view = ROOM.render(T_world_cam=pose if index else None, view_id=index)
                facts = {"leg": index, "path": leg.path, "frames": 1, "last": True}
                chunk = Chunk(views=(view,), Ts_world_path=view.T_world_cam[None], facts=facts)
                context.chunks.save_chunk(index, key, chunk)
            seen += chunk.views
        context.chunks.keep_chunks(len(legs))
        poses = np.stack([view.T_world_cam for view in seen])
        (notes.folder / "memory").mkdir()
        save_explored(notes.folder / "memory", replace(ROOM.views((0,)), views=seen, Ts_world_path=poses))

    def simulate(context: StageContext) -> None:
        real["simulate"].run(context)
        if broken == "simulate":
            raise InputError("the test stops here")

    return Stages(
        read_photo=lambda path, config: decode_photo(path.read_bytes(), path, long_side_px=64),
        resolve=lambda config: config,
        items=(
            Stage(name="understand", run=understand, sections=("geometry",), late_sections=("scale",)),
            Stage(name="explore", run=explore, sections=("generation",), chunked=True),
            real["reconstruct"],
            replace(real["simulate"], run=simulate),
        ),
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A finished world."""
    folder = tmp_path_factory.mktemp("template")
    file = io.BytesIO()
    Image.fromarray(ROOM.render().rgb_u8).save(file, "PNG")
    (folder / "room.png").write_bytes(file.getvalue())
    build_world(folder / "room.png", folder / "world", load_config(None, TINY), stages=room_stages())
    return folder / "world"


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(template, tmp_path / "w"))


def rescale(folder: Path, settings: RescaleConfig = NEW_SIZE):
    return rescale_world(folder, settings, stages=room_stages())


def test_rescaling_gives_the_world_that_would_have_been_generated(folder, template, tmp_path):
    """To the byte, `world.json` included; the memory is the one before, and again is nothing."""
    before = content(folder)
    world = rescale(folder)
    assert world.finished and world.check_files().ok
    config = load_config(None, {**TINY, "rescale.factor": 0.8})
    build_world(template.parent / "room.png", tmp_path / "fresh", config, stages=room_stages())
    now = content(folder)
    assert now == content(tmp_path / "fresh")
    assert all(now[name] == data for name, data in before.items() if name.startswith("memory/"))
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    rescale(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_everything_outside_the_memory_is_scaled(folder, template):
    """Splats, mesh, map, cameras and path; the robot is what it was, so the map has fewer cells and other episodes."""
    before, after = load_world(template), rescale(folder)
    scale = after.manifest.scale
    assert scale is not None and scale.metres_per_unit == 0.8 and scale.source == "factor"
    assert after.manifest.id != before.manifest.id
    np.testing.assert_allclose(after.mesh().vertices, 0.8 * before.mesh().vertices, rtol=1e-6)
    np.testing.assert_allclose(after.splats().scales_m, 0.8 * before.splats().scales_m, rtol=1e-6)
    assert after.geometry().layout.camera_height_m == pytest.approx(1.2)
    assert after.views().ceiling_m == pytest.approx(0.8 * 2.8)
    portable = [read_splats(world.path("splats.ply")) for world in (before, after)]
    np.testing.assert_allclose(portable[1].means, 0.8 * portable[0].means, rtol=1e-5, atol=1e-6)
    old, new = read_world(template), read_world(folder)
    assert new.photo_camera == old.photo_camera and new.T_world_photo[2, 3] == pytest.approx(1.2)
    assert new.robot_radius_m == old.robot_radius_m and new.grid.cell_m == old.grid.cell_m
    assert new.grid.cells.size < 0.8 * old.grid.cells.size
    np.testing.assert_allclose(read_path_poses(folder)[:, :3, 3], 0.8 * read_path_poses(template)[:, :3, 3])
    np.testing.assert_allclose(new.mesh.vertices, 0.8 * old.mesh.vertices)


def test_scaling_back_leaves_no_trace(folder, template):
    """Whatever the sizes in between were."""
    rescale(folder, RescaleConfig(factor=3.7))
    rescale(folder)
    rescale(folder, RescaleConfig())
    assert content(folder) == content(template)


def test_journeys_do_not_mind(folder, template):
    """Extending, undoing and rescaling commute, to the byte."""
    other = Path(shutil.copytree(template, folder.with_name("other")))
    rescale(folder)
    small = content(folder)
    extend_world(folder, path="forward", stages=room_stages())
    extend_world(other, path="forward", stages=room_stages())
    rescale(other)
    assert content(folder) == content(other)
    undo_world(folder, stages=room_stages())
    assert content(folder) == small


def test_a_run_that_dies_is_finished_to_the_same_bytes(folder, template, tmp_path):
    """Wherever it stopped: `finish` goes on with the new size."""
    whole = Path(shutil.copytree(template, tmp_path / "whole"))
    rescale(whole)
    with pytest.raises(InputError, match="the test stops here"):
        rescale_world(folder, NEW_SIZE, stages=room_stages("simulate"))
    finish_world(folder, stages=room_stages())
    assert content(folder) == content(whole)


def test_a_run_that_dies_while_it_scales_is_finished_too(folder, template, tmp_path, monkeypatch):
    """What was being scaled is made again from the memory, to the same bytes."""
    whole = Path(shutil.copytree(template, tmp_path / "whole"))
    rescale(whole)

    def stop(*arguments: object) -> None:
        raise InputError("the test stops here")

    with monkeypatch.context() as patch:
        patch.setattr(build_stages, "write_reconstructed", stop)
        with pytest.raises(InputError, match="the test stops here"):
            rescale(folder)
    rescale(folder)
    assert content(folder) == content(whole)


def test_generating_again_leaves_a_rescaled_world_alone(folder, template):
    """The command that made it finds it finished, at its new size."""
    rescale(folder)
    before = content(folder)
    build_world(template.parent / "room.png", folder, load_config(None, TINY), stages=room_stages())
    assert content(folder) == before


def test_evidence_is_recorded(folder):
    """A measured camera height makes the factor; what it said stands in the manifest, with its doubt."""
    world = rescale(folder, RescaleConfig(camera_height_m=1.8))
    scale = world.manifest.scale
    assert scale is not None and scale.metres_per_unit == pytest.approx(1.2) and 0.02 < scale.relative_sigma < 0.1
    assert scale.evidence[0]["stated_m"] == 1.8 and scale.evidence[0]["in_world_m"] == pytest.approx(1.8)
    stated = re.search(r"relativeScaleSigma = ([0-9.]+)", world.path("world.usda").read_text())
    assert stated is not None and float(stated[1]) == pytest.approx(scale.relative_sigma)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (RescaleConfig(measure="1,1,5000,9=1m"), "lies outside the photo"),
        (RescaleConfig(tag_size_m=0.1), "no AprilTag"),
        (RescaleConfig(known="door:10,5,10,15"), "at or above the horizon"),
    ],
)
def test_refused_evidence_changes_nothing(folder, template, settings, message):
    """The world is to the byte what it was."""
    with pytest.raises(InputError, match=message):
        rescale(folder, settings)
    assert content(folder) == content(template)


def test_an_unfinished_world_is_refused(tmp_path, template):
    """Nothing to scale yet: the message says how to go on."""
    config = load_config(None, TINY)
    photo = template.parent / "room.png"
    build_world(photo, tmp_path / "w", config, until="understand", stages=room_stages())
    with pytest.raises(InputError, match="finish it with"):
        rescale(tmp_path / "w")

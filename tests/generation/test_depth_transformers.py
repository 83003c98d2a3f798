"""Real depth models at toy size: loaded from folders, read by their own configuration, joined to the product."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from depth_models import KINDS, save_tiny
from geometry_checks import expect_sound
from lyra.worldgen.build.backends import resolve_backends
from lyra.worldgen.build.run import build_world
from lyra.worldgen.build.stages import default_stages
from lyra.worldgen.cli.main import main
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import GeometryConfig, ModelsConfig, WorldConfig, config_from_dict
from lyra.worldgen.core.errors import BackendError, ConfigError, DependencyError, InputError, WorldgenError
from lyra.worldgen.core.views import SPACE_DISPARITY, SPACE_METRIC, SPACE_SCALE
from lyra.worldgen.core.world import load_world
from lyra.worldgen.generation.depth import DEPTHS, running
from lyra.worldgen.generation.depth_transformers import TransformersDepth, _unpadded, depth_space
from lyra.worldgen.generation.geometry import estimate_geometry
from lyra.worldgen.generation.photo import load_photo
from rooms import analytic_room

# One test process loads the libraries, not each.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("model_libraries"), pytest.mark.xdist_group("models")]

SPACE_OF = {
    "depth-anything-relative": SPACE_DISPARITY,
    "depth-anything-metric": SPACE_METRIC,
    "dpt": SPACE_DISPARITY,
    "zoedepth": SPACE_METRIC,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(base / kind, kind) for kind in KINDS}


def config(depth: object, **models) -> WorldConfig:
    return WorldConfig(geometry=GeometryConfig(backend="transformers"), models=ModelsConfig(depth=str(depth), **models))


def estimator(depth: object, **models) -> TransformersDepth:
    return TransformersDepth.from_config(config(depth, **models))


@pytest.mark.parametrize(
    ("kind", "hw"),
    [
        *((kind, (120, 160)) for kind in KINDS),
        *(pytest.param(kind, (67, 41), marks=[pytest.mark.slow] if kind != "zoedepth" else []) for kind in KINDS),
    ],
)
def test_models_answer_at_the_pictures_size_in_their_space(folders, kind, hw):
    """Saved, loaded back and run: a map of the picture's size, metric or not as the configuration says."""
    rgb = np.random.default_rng(0).integers(0, 255, (*hw, 3), np.uint8)
    found = estimator(folders[kind]).estimate(rgb, None)
    assert found.values.shape == found.valid.shape == hw and found.values.dtype == np.float32
    assert found.space == SPACE_OF[kind] and found.metric == (found.depth_z_m is not None)
    assert found.valid.mean() > 0.9 and found.K_px is None
    again = estimator(folders[kind]).estimate(rgb, None)
    assert again.values.tobytes() == found.values.tobytes()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind != "zoedepth" else []) for kind in KINDS]
)
def test_random_weights_still_give_a_sound_geometry(folders, kind, photos):
    """Whatever they answer for a real photo, a world can be made of it."""
    cfg = config(folders[kind])
    photo = load_photo(photos / "hall.png", long_side_px=192)
    g = estimate_geometry(photo, cfg.geometry, models=cfg.models)
    expect_sound(g)
    assert g.backend == "transformers" or kind in g.notes[0]


def test_a_model_that_knows_the_picture_gives_its_room(tmp_path):
    """Weights solved for one picture, saved, loaded by name: the layout is the room's and not the embedded chain's."""
    room = analytic_room(width_px=240, height_px=180)
    taught = (room.render().rgb_u8, 1.1 * room.render().depth_z_m)
    folder = save_tiny(tmp_path / "taught", "depth-anything-metric", teach=taught)
    photo = dataclasses.replace(room.photo(), hfov_rad=room.camera.hfov_rad)
    g = estimate_geometry(photo, GeometryConfig(backend="transformers"), models=ModelsConfig(depth=str(folder)))
    expect_sound(g)
    assert g.backend == "transformers", g.notes
    assert "m above the floor" in g.notes[0]
    truth = room.layout(g.layout.azimuth_rad)
    assert np.median(np.abs(g.layout.boundary_m / truth.boundary_m - 1.0)) < 0.15


@pytest.mark.parametrize(
    ("settings", "output", "space"),
    [
        ({"depth_estimation_type": "metric", "max_depth": 20}, {}, SPACE_METRIC),
        ({"depth_estimation_type": "relative", "max_depth": 1}, {}, SPACE_DISPARITY),
        ({"bin_configurations": [{"n_bins": 64, "min_depth": 0.001, "max_depth": 10.0}]}, {}, SPACE_METRIC),
        ({"max_depth": 10}, {}, SPACE_METRIC),
        ({"max_depth": None}, {}, SPACE_DISPARITY),
        ({}, {}, SPACE_DISPARITY),
        ({}, {"field_of_view": None}, SPACE_SCALE),
    ],
)
def test_space_is_read_from_configuration_and_output(settings, output, space):
    """The rule of the module, line by line."""
    assert depth_space(SimpleNamespace(**settings), SimpleNamespace(**output)) == space


def test_config_json_can_say_what_a_model_does_not(tmp_path):
    """The documented way to call a DPT head metric."""
    folder = save_tiny(tmp_path / "dpt", "dpt")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"depth_estimation_type": "metric"}))
    assert estimator(folder).estimate(np.zeros((40, 60, 3), np.uint8), None).metric


def test_field_of_view_makes_inverse_depth_metric(monkeypatch):
    """Depth Pro's output: canonical inverse depth and degrees across; a camera that is known wins over it."""
    import torch

    depth = np.linspace(1.0, 5.0, 24 * 32).reshape(24, 32)
    fake = PinholeCamera.from_hfov(32, 24, np.radians(60.0))
    inverse = torch.tensor(fake.fx_px / 32 / depth)[None]

    class FakeInputs(dict):
        def to(self, *args, **options):
            return self

    class FakeProModel:
        device, dtype, config = "cpu", torch.float32, SimpleNamespace()

        def __call__(self):
            return SimpleNamespace(predicted_depth=inverse, field_of_view=torch.tensor([60.0]))

    fake_pro = TransformersDepth.from_config(config("fake/pro"))
    fake_pro._loaded = (lambda images, return_tensors: FakeInputs(), FakeProModel())
    rgb = np.zeros((24, 32, 3), np.uint8)
    found = fake_pro.estimate(rgb, None)
    assert found.metric
    np.testing.assert_allclose(found.depth_z_m, depth, rtol=1e-5)
    np.testing.assert_allclose(found.K_px, fake.K_px, rtol=1e-6)
    narrow = PinholeCamera.from_hfov(32, 24, np.radians(30.0))
    known = fake_pro.estimate(rgb, narrow)
    np.testing.assert_allclose(known.depth_z_m, depth * narrow.fx_px / fake.fx_px, rtol=1e-5)
    np.testing.assert_allclose(known.K_px, narrow.K_px)


def columns_left(processor, picture_hw: tuple[int, int], map_hw: tuple[int, int]) -> np.ndarray:
    """Which columns of the model's map, in its own pixels, remain of a row once the border is off."""
    import torch

    columns = torch.arange(map_hw[1], dtype=torch.float32).expand(1, *map_hw)
    return _unpadded(processor, SimpleNamespace(predicted_depth=columns), np.zeros((*picture_hw, 3), np.uint8))[0]


def test_padding_of_the_processor_is_taken_off():
    """A border after reducing (DPT) or before it (ZoeDepth) does not shift the map against the picture."""
    import transformers

    dpt = transformers.DPTImageProcessor(size={"height": 56, "width": 56}, do_pad=True, size_divisor=84)
    np.testing.assert_array_equal(columns_left(dpt, (56, 56), (84, 84)), np.arange(14, 70))
    bare = transformers.DPTImageProcessor(size={"height": 56, "width": 56})
    np.testing.assert_array_equal(columns_left(bare, (56, 56), (56, 56)), np.arange(56))
    zoe = transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64})
    left = columns_left(zoe, (200, 200), (260, 260))  # 30 pixels on each side of 200
    np.testing.assert_allclose(left, np.arange(30, 230), atol=1e-3)


def one_line(error: WorldgenError) -> str:
    assert "\n" not in str(error) and len(str(error)) < 700
    return str(error)


def test_empty_setting_is_refused_before_anything_is_written(photos, tmp_path):
    """No model named: the setting and its flag are in the message, and there is no folder yet."""
    with pytest.raises(ConfigError, match=r"models.depth is empty.*--depth-model") as caught:
        build_world(photos / "hall.png", tmp_path / "out", config(""))
    one_line(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/none", "~/no such folder", "a/b/c"])
def test_wrong_folder_is_refused(name):
    """A path that does not exist is called that, not a hub id."""
    with pytest.raises(InputError, match=r"models.depth is a folder that does not exist"):
        resolve_backends(config(name))


def test_hub_ids_are_not_fetched_unasked():
    """A hub id that is not on this machine needs the word to download."""
    with pytest.raises(ConfigError, match=r"not in this machine's hub cache.*models\.download=true") as caught:
        estimator("someone/some-depth-model").estimate(np.zeros((8, 8, 3), np.uint8), None)
    one_line(caught.value)


def test_without_network_a_download_says_so():
    """The tests forbid the hub as a missing network does."""
    with pytest.raises(BackendError, match=r"cannot be fetched or loaded") as caught:
        estimator("someone/some-depth-model", download=True).estimate(np.zeros((8, 8, 3), np.uint8), None)
    one_line(caught.value)


def spoil(folder: Path, how: str) -> None:
    if how == "empty":
        for path in folder.iterdir():
            path.unlink()
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "cut weights":
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif how == "other model":
        (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    else:
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / "model.safetensors")
        save_file(
            {name: np.full_like(t, np.nan) for name, t in tensors.items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )


BROKEN = {
    "empty": "models.depth cannot be loaded",
    "no weights": "models.depth cannot be loaded",
    "cut weights": "models.depth cannot be loaded",
    "other model": "models.depth cannot be loaded",
    "nan": "returned no finite number",
}


@pytest.mark.parametrize(("how", "message"), BROKEN.items())
def test_broken_weights_are_one_line(how, message, folders, tmp_path):
    """What is wrong with the files shows when the model is asked for the first time."""
    folder = Path(shutil.copytree(folders["dpt"], tmp_path / "weights"))
    spoil(folder, how)
    with pytest.raises(BackendError, match=message) as caught:
        estimator(folder).estimate(np.zeros((24, 32, 3), np.uint8), None)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case[0] != "cut weights" else []) for case in BROKEN.items()],
)
def test_with_repaired_weights_the_world_goes_on_later(how, message, photos, tmp_path):
    """The build stops with one clear error; with the weights repaired the same command finishes."""
    folder = save_tiny(tmp_path / "weights", "dpt")
    spoil(folder, how)
    settings = dataclasses.replace(
        config(folder), geometry=GeometryConfig(backend="transformers", working_long_side_px=128)
    )
    stages = default_stages()
    understand_only = dataclasses.replace(stages, items=stages.items[:1])
    with pytest.raises(BackendError, match=message) as caught:
        build_world(photos / "hall.png", tmp_path / "out", settings, stages=understand_only)
    one_line(caught.value)
    save_tiny(folder, "dpt")
    world = build_world(photos / "hall.png", tmp_path / "out", settings, stages=understand_only)
    record = world.manifest.stages["understand"]
    assert record.model == "weights" and record.weights_licence == "Apache-2.0"
    assert world.manifest.licence == "Apache-2.0"


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("processor", ["DepthProImageProcessor", "DepthProImageProcessorFast"])
@pytest.mark.filterwarnings("ignore")
def test_a_missing_optional_package_is_named(processor, tmp_path):
    """Depth Pro's pictures need torchvision: that is no damage of its weights, however transformers puts it."""
    (tmp_path / "config.json").write_text('{"model_type": "depth_pro"}')
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": processor}))
    with pytest.raises(DependencyError, match=r"needs a package that is missing .*[Tt]orchvision") as caught:
        estimator(tmp_path).estimate(np.zeros((8, 8, 3), np.uint8), None)
    one_line(caught.value)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore")])
def test_running_out_of_memory_says_what_helps(error):
    """What the frameworks raise becomes one line with a remedy."""
    with pytest.raises(BackendError, match=r"ran out of memory; lower geometry.working_long_side_px") as caught:
        with running("large"):
            raise error
    one_line(caught.value)


def test_registry_and_flag(capsys, tmp_path, monkeypatch):
    """Every registered model loads by name, and the command line sets the weights."""
    for name in DEPTHS.names():
        cfg = config_from_dict({"geometry": {"backend": name}, "models": {"depth": "org/model"}})
        made = DEPTHS.load(name).from_config(cfg)
        assert made.name == name and made.model == "org/model"
        assert made.weights_licence == "unknown: see org/model"
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"x")
    assert main(["generate", "a.jpg", "--geometry", "transformers", "--depth-model", "org/model", "--dry-run"]) == 0
    assert "depth: org/model" in capsys.readouterr().out
    assert main(["generate", "a.jpg", "--geometry", "transformers"]) == 2
    error = capsys.readouterr().err
    assert "models.depth is empty" in error and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.physx
@pytest.mark.parametrize("kind", ["depth-anything-metric", "dpt", "zoedepth"])
def test_a_whole_world_names_model_and_licence(photos, tmp_path, kind):
    """From a CC0 photo through every stage to a folder whose record says which weights took part."""
    folder = save_tiny(tmp_path / "tiny-depth", kind, licence="cc-by-nc-4.0")
    settings = config_from_dict(
        {
            "seed": 3,
            "geometry": {"backend": "transformers", "working_long_side_px": 192},
            "models": {"depth": str(folder)},
            "generation": {"view_long_side_px": 96, "path": "turn"},
            "reconstruction": {"texture_px": 256, "splat_budget": 20000},
            "simulation": {"rest_faces": 500, "episode_count": 4, "cell_m": 0.1},
            "certificate": {"drops": 2, "drive_episodes": 1},
        }
    )
    build_world(photos / "apartment.png", tmp_path / "out", settings)
    world = load_world(tmp_path / "out")
    record = world.manifest.stages["understand"]
    assert world.finished and world.check_files().ok
    assert record.model == "tiny-depth" and record.weights_licence == "CC-BY-NC-4.0"
    assert "CC-BY-NC-4.0" in world.manifest.licence and "transformers" in record.versions

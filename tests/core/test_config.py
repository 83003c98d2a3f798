"""The configuration refuses what it does not know, by key path, and its dump reads back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.config import (
    GenerationConfig,
    GeometryConfig,
    WorldConfig,
    config_from_dict,
    load_config,
    with_late_sections,
    without_unsaid,
)
from lyra.worldgen.core.errors import ConfigError
from lyra.worldgen.core.schema import differing_keys, field_docs, resolved_dict, resolved_yaml


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("generation:\n  pathh: turn\n", "unknown key generation.pathh; did you mean 'path'?"),
        ("generaton:\n  path: turn\n", "unknown key generaton; did you mean 'generation'?"),
        ("camera_height_m: 1.2\n", "unknown key camera_height_m; did you mean 'geometry.camera_height_m'?"),
        ("generation:\n  zzz: 1\n", "unknown key generation.zzz; generation has: painter, path"),
        ("generation:\n  path: on\n", "generation.path is true; expected text"),
        ("geometry:\n  camera_height_m: tall\n", "geometry.camera_height_m is 'tall'; expected a number"),
        ("geometry:\n  camera_height_m: 1e0\n", "YAML reads 1e0 as text; write 1.0"),
        ("geometry:\n  camera_height_m: .nan\n", "geometry.camera_height_m is nan; expected a finite number"),
        ("geometry:\n  camera_height_m: -1\n", "geometry.camera_height_m is -1.0; expected 0.1 to 20.0"),
        ("geometry:\n  working_long_side_px: 12.5\n", "working_long_side_px is 12.5; expected a whole number"),
        ("seed: -1\n", "seed is -1; expected 0 to 4294967295"),
        ("seed: true\n", "seed is true; expected a whole number"),
        ("models:\n  device: cpuu\n", "models.device is 'cpuu', did you mean 'cpu'?; expected one of: auto"),
        ("generation: 3\n", "generation is 3; expected a section"),
        ("- 1\n- 2\n", "a list; expected sections"),
        ("seed: 1\nseed: 2\n", "key 'seed' stands twice (line 2)"),
        ("seed: [1\n", "no valid YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        pytest.param("a: " + "[" * 5000, "no valid YAML", id="deep"),
        ("seed: !!python/object/apply:os.system ['true']\n", "no valid YAML"),
        ("? [a, b]\n: 1\n", "no valid YAML"),
        ("1: 2\n", "unknown key 1"),
        pytest.param("x" * (2**20 + 1), "more than 1048576 bytes", id="huge"),
    ],
)
def test_bad_files_are_refused_by_key_path(tmp_path, text, message):
    """Each mistake gives one line that names the key, what it is and what was expected."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    """A path that is no file says so."""
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)


def test_overrides_win_over_the_file(tmp_path):
    """Command-line values replace those of the file; the rest keeps its default."""
    path = write(tmp_path, "seed: 3\ngeneration:\n  path: loop\ngeometry:\n")
    config = load_config(path, {"seed": 7, "geometry.camera_height_m": 2})
    assert (config.seed, config.generation.path, config.geometry.camera_height_m) == (7, "loop", 2.0)
    assert config.simulation == WorldConfig().simulation


def test_overrides_are_checked_like_files():
    """An unknown section or key of an override is refused too."""
    with pytest.raises(ConfigError, match=r"unknown key generation\.pth; did you mean 'path'"):
        load_config(None, {"generation.pth": "turn"})
    with pytest.raises(ConfigError, match="unknown key a"):
        load_config(None, {"a.b.c": 1})
    with pytest.raises(ConfigError, match="seed is 3; expected a section"):
        load_config(None, {"seed": 3, "seed.x": 1})


def test_direct_construction_is_checked():
    """Range and type checks live in the dataclasses, so code is held to them as files are."""
    with pytest.raises(ConfigError, match=r"geometry\.max_extent_m is 0"):
        GeometryConfig(max_extent_m=0)
    with pytest.raises(ConfigError, match=r"generation\.view_long_side_px is '2'; expected a whole number"):
        GenerationConfig(view_long_side_px="2")  # pyright: ignore[reportArgumentType]


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.1, 20.0),
    st.sampled_from(["auto", "turn", "forward", "loop"]),
    st.text(max_size=40).filter(lambda text: text.isprintable()),
)
def test_the_resolved_dump_reads_back(seed, height, path, prompt):
    """Dictionary and YAML dumps give the same configuration again."""
    import yaml

    config = load_config(
        None,
        {"seed": seed, "geometry.camera_height_m": height, "generation.path": path, "generation.prompt": prompt},
    )
    assert config_from_dict(resolved_dict(config)) == config
    assert config_from_dict(yaml.safe_load(resolved_yaml(config))) == config


def test_differing_keys_name_what_changed():
    """The difference of two configurations is a list of key paths."""
    a, b = load_config(None, {}), load_config(None, {"seed": 1, "simulation.cell_m": 0.1})
    assert differing_keys(resolved_dict(a), resolved_dict(b)) == ["seed", "simulation.cell_m"]
    assert differing_keys(resolved_dict(a), resolved_dict(a)) == []


def test_every_field_has_a_help_text():
    """The docstring after each field is the help of its flag, so none may be missing."""
    for section in [WorldConfig, *(f.default_factory for f in dataclasses.fields(WorldConfig) if f.name != "seed")]:
        docs = field_docs(section)  # pyright: ignore[reportArgumentType]
        for f in dataclasses.fields(section):  # pyright: ignore[reportArgumentType]
            if not dataclasses.is_dataclass(f.default_factory):
                assert docs[f.name], f"{section}.{f.name}"


@pytest.mark.parametrize("name", ["default", "fast"])
def test_shipped_presets_are_valid(repository, name):
    """Every preset loads, and the default one says exactly what the code says."""
    config = load_config(repository / "config" / "generation" / f"{name}.yaml")
    if name == "default":
        assert config == WorldConfig()


def test_worlds_from_before_a_key_existed_stay_what_they_are():
    """A late key at its default changes nothing; a missing one is its default; one that says something counts."""
    now = resolved_dict(WorldConfig())
    before = {**now, "simulation": {k: v for k, v in now["simulation"].items() if not k.endswith("_material")}}
    assert before["simulation"] != now["simulation"]
    assert without_unsaid(now) == without_unsaid(before)
    assert differing_keys(with_late_sections(before), now) == []
    tiled = resolved_dict(config_from_dict({"simulation": {"floor_material": "tile"}}))
    assert without_unsaid(tiled)["simulation"]["floor_material"] == "tile"
    assert differing_keys(with_late_sections(before), tiled) == ["simulation.floor_material"]

"""The packed extension, unpacked into a search path, holds all that it needs and nothing else is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import pack_extension
from check_files import repository_files

pytestmark = pytest.mark.slow
PROBE = """
import json, sys
import lyra.worldgen.kit.controller, lyra.worldgen.kit.jobs, lyra.worldgen.cli.main
from lyra.worldgen.kit.driving import find_tasks
from pathlib import Path
find_tasks(Path(sys.argv[1]))
ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("lyra", "lyra_tasks") and getattr(m, "__file__", None)]
print(json.dumps([m.__file__ for m in ours]))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The extension in a search path of its own."""
    folder = tmp_path_factory.mktemp("exts")
    with zipfile.ZipFile(pack_extension.pack(folder / "zip")) as archive:
        archive.extractall(folder / "search")
    return folder / "search" / "lyra.worldgen"


def run(unpacked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that knows nothing but the extension and installed packages."""
    env = {"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin", "HOME": str(unpacked.parent), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=unpacked.parent, env=env, capture_output=True, text=True, check=False
    )


def test_what_the_manifest_names_is_there(unpacked):
    """One folder under the extension's id; files, module and licence of its manifest lie in it."""
    assert [entry.name for entry in unpacked.parent.iterdir()] == [unpacked.name] == ["lyra.worldgen"]
    manifest = tomllib.loads((unpacked / "config" / "extension.toml").read_text())
    for key in ("readme", "changelog", "icon", "preview_image"):
        assert (unpacked / manifest["package"][key]).is_file()
    (module,) = manifest["python"]["module"]
    assert (unpacked / Path(*module["name"].split(".")) / "extension.py").is_file()
    assert (unpacked / "LICENSE").is_file() and not list(unpacked.rglob("__pycache__"))
    assert not list(unpacked.rglob("*.pyc"))


def test_controller_and_command_line_run_from_it(unpacked):
    """With the unpacked folder alone on the path: every module of ours comes from it, the command line works."""
    probe = run(unpacked, "-c", PROBE, str(unpacked))
    assert probe.returncode == 0, probe.stderr
    files = json.loads(probe.stdout)
    assert len(files) > 10
    assert all(Path(file).is_relative_to(unpacked) for file in files), files
    said = run(unpacked, "-m", "lyra.worldgen", "paths")
    assert said.returncode == 0 and "out-and-back" in said.stdout, said.stderr
    missing = run(unpacked, "-m", "lyra.worldgen", "info", str(unpacked))
    assert missing.returncode == 2 and "world.json" in missing.stderr


def test_every_file_of_the_package_is_in_it(unpacked):
    """Data files, too: what lies in the checkout's package lies in the zip."""
    tracked = [path for path in repository_files() if path.is_relative_to(pack_extension.EXTENSION)]
    here = {path.relative_to(pack_extension.EXTENSION) for path in tracked}
    there = {p.relative_to(unpacked) for p in unpacked.rglob("*") if p.is_file()}
    assert here <= there and any(p.suffix == ".safetensors" for p in there)


def test_the_same_files_make_the_same_bytes(tmp_path):
    """Packing twice gives one archive."""
    first, second = (pack_extension.pack(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second

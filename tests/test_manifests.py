"""The manifests agree with one another and with what lies on disk."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

import lyra.worldgen

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "exts" / "lyra.worldgen"


def read(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def kit() -> dict:
    return read(EXTENSION / "config" / "extension.toml")


def test_root_and_packaged_manifest_agree(kit):
    """Same name, version and dependencies; the name is the folder's."""
    root = read(ROOT / "extension.toml")
    assert root["package"]["name"] == kit["package"]["name"] == EXTENSION.name
    assert root["package"]["version"] == kit["package"]["version"]
    assert root["dependencies"] == kit["dependencies"]


def test_one_version_everywhere(kit):
    """Kit manifest, Python package and its module say the same version."""
    project = read(ROOT / "pyproject.toml")["project"]
    assert kit["package"]["version"] == project["version"] == lyra.worldgen.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])


def test_files_named_by_the_manifest_exist(kit):
    """Readme, changelog, icon and preview picture are there."""
    for key in ("readme", "changelog", "icon", "preview_image"):
        assert (EXTENSION / kit["package"][key]).is_file(), key


def test_module_named_by_the_manifest_holds_the_extension_class(kit):
    """Kit imports the named package and finds a subclass of IExt through it."""
    (entry,) = kit["python"]["module"]
    spec = importlib.util.find_spec(entry["name"])
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin)
    assert "from .extension import Extension" in package.read_text()
    tree = ast.parse(package.with_name("extension.py").read_text())
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert ast.unparse(cls.bases[0]) == "omni.ext.IExt"
    assert {"on_startup", "on_shutdown"} <= {f.name for f in cls.body if isinstance(f, ast.FunctionDef)}


def test_settings_read_by_the_shell_are_declared(kit):
    """Every setting that kit/settings.py reads has a default in the manifest, and none is left over."""
    source = (EXTENSION / "lyra" / "worldgen" / "kit" / "settings.py").read_text()
    read_names = set(re.findall(r"\{ROOT\}/(\w+)", source))
    assert read_names == set(kit["settings"]["exts"]["lyra.worldgen"])


def test_kit_changelog_is_the_projects(kit):
    """The page Kit shows holds the current version."""
    text = (EXTENSION / kit["package"]["changelog"]).read_text()
    assert f"## [{kit['package']['version']}]" in text
    assert text == (ROOT / "CHANGELOG.md").read_text()


def test_every_imported_package_is_asked_for():
    """What the package imports, by statement or by `require`, stands in the requirements of some extra."""
    project = read(ROOT / "pyproject.toml")["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-") for requirement in asked}
    # Modules named unlike what brings them, for environments that have only the core installed.
    named_otherwise = {
        "cv2": ["opencv-python-headless"],
        "pxr": ["usd-core"],
        "skimage": ["scikit-image"],
        "warp": ["warp-lang"],
    }
    provided = named_otherwise | importlib.metadata.packages_distributions()
    kit_only = {"omni", "carb", "isaacsim"}
    missing = set()
    for path in sorted((EXTENSION / "lyra").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            roots = []
            if isinstance(node, ast.Import):
                roots = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                roots = [node.module]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "require" and node.args:
                roots = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
            for root in {str(name).partition(".")[0] for name in roots}:
                if root in sys.stdlib_module_names or root in kit_only or root in ("lyra", "lyra_tasks"):
                    continue
                distributions = {d.lower().replace("_", "-") for d in provided.get(root, [root])}
                # ovstage comes with ovphysx, whose exact version it follows.
                if not distributions & names and root != "ovstage":
                    missing.add(f"{path.relative_to(EXTENSION)}: {root} ({', '.join(sorted(distributions))})")
    assert missing == set()

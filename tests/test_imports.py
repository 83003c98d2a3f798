"""Importing the product stays light: optional packages load where they are used, not before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "exts" / "lyra.worldgen" / "lyra" / "worldgen"
HEAVY = {
    "torch", "diffusers", "transformers", "gsplat", "trimesh", "open3d", "pxr", "omni", "carb", "isaaclab", "cv2",
    "numba", "scipy", "skimage", "embreex", "xatlas", "ovphysx", "ovstage", "physx_usd_schemas",
    "newton", "warp", "mujoco", "coacd", "matplotlib", "fastapi",
    "starlette", "pydantic", "uvicorn", "h11", "prometheus_client", "viser",
    "torchmetrics", "torch_fidelity", "torchvision",
}  # fmt: skip
KIT_ONLY = {
    *("extension.py", "settings.py", "stage.py", "stage_content.py", "task_run.py"),
    *("window.py", "window_import.py", "window_worlds.py"),
}


def light_modules() -> list[str]:
    """Every module but the Kit shell and back-ends: compiled loops (`*_numba.py`) and declared imports."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        in_kit = relative.parts[0] == "kit"
        if path.name == "__main__.py" or (in_kit and (path.name in KIT_ONLY or "tests" in relative.parts)):
            continue
        if path.stem.endswith("_numba") or "noqa: TID253" in path.read_text(encoding="utf-8"):
            continue
        parts = relative.with_suffix("").parts
        names.append(".".join(("lyra", "worldgen", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return names


PROBE = """
import importlib, json, sys
heavy, found, before = set(json.loads(sys.argv[1])), {}, set()
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
    # A bare namespace package (any wheel may own a corner of `omni`) holds no code and costs nothing.
    loaded = {m for m in heavy & set(sys.modules) if getattr(sys.modules[m], "__file__", None)}
    if loaded - before:
        found[name] = sorted(loaded - before)
    before = loaded
print(json.dumps(found))
"""


def test_no_module_loads_an_optional_package():
    """One fresh interpreter imports every light module in turn; whoever brings in a heavy package is named."""
    names = light_modules()
    assert len(names) > 15
    output = subprocess.check_output(
        [sys.executable, "-W", "error", "-c", PROBE, json.dumps(sorted(HEAVY)), json.dumps(names)], text=True
    )
    assert json.loads(output) == {}


@pytest.mark.parametrize("module", ["lyra.worldgen", "lyra.worldgen.kit.controller"])
def test_faces_import_without_numpy(module):
    """The package's face and Kit's controller cost no scientific package at all."""
    probe = f"import sys, {module}; print('numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "False"


def test_tests_and_their_processes_use_this_checkout():
    """Whatever is installed: what is tested lies beside the tests, in processes that tests start, too."""
    import lyra.worldgen

    probe = "import lyra.worldgen; print(lyra.worldgen.__file__)"
    started = subprocess.check_output([sys.executable, "-c", probe], text=True).strip()
    for file in (started, lyra.worldgen.__file__):
        assert file is not None and Path(file).resolve().parent == PACKAGE


def test_public_names_resolve():
    """Everything in `__all__` can be imported from the package's face."""
    import lyra.worldgen

    for name in getattr(lyra.worldgen, "__all__", ()):
        assert getattr(lyra.worldgen, name) is not None, name

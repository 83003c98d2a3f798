"""Who may import whom, lazy imports included: read from the syntax tree, so nothing has to run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "exts" / "lyra.worldgen" / "lyra" / "worldgen"
STAGES = {"generation", "reconstruction", "sim"}
TOP = {"build", "certify", "evaluate", "importing", "preview", "sensors", "vary", "web"}
"""Modules at the package root that join stages."""
ALLOWED = {
    "core": {"core"},
    **{stage: {"core", stage} for stage in STAGES},
    "top": {"core", "top", *STAGES},
    "training": {"core", "generation", "training"},
    "session": {"core", "top", "session"},
    "batch": {"core", "session", "batch"},
    "service": {"core", "session", "service"},
    "faces": {"core", "top", "session", "faces", *STAGES},
    "explore": {"core", "top", "session", "faces", "explore", *STAGES},
    "cli": {"core", "top", "session", "service", "batch", "explore", "cli", "training", *STAGES},
    "kit": {"core", "top", "session", "faces", "kit"},
    "front": {"core", "top", "session", "service", "cli", *STAGES},
}
"""Importing layer: the layers it may import. `front` is `__init__` and `__main__`; `training` is for `cli`."""
BY_NAME = re.compile(r"lyra\.worldgen\.[a-z_.]+(:\w+)?")
"""A module named in a string."""
SIMULATOR_ROOTS = {"omni", "carb", "isaacsim", "isaaclab"}


def layer_of(parts: tuple[str, ...]) -> str:
    """Layer of a module given by its path below `lyra.worldgen`, e.g. `("core", "mesh")`."""
    if not parts or parts[0] in {"__init__", "__main__"}:
        return "front"
    return parts[0] if parts[0] in ALLOWED else "top"


def imported_modules(source: str, package_parts: tuple[str, ...]) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a file, at any depth, type-checking blocks included."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package_parts[: len(package_parts) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            found += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and BY_NAME.fullmatch(node.value):
            found.append((node.lineno, node.value))  # require("..."), registry entries, `python -m ...`
    return found


def violations(path: Path) -> list[str]:
    relative = path.relative_to(PACKAGE)
    module_parts = relative.with_suffix("").parts
    layer = layer_of(module_parts)
    bad = []
    for line, name in imported_modules(path.read_text(encoding="utf-8"), ("lyra", "worldgen", *module_parts[:-1])):
        if name.startswith("lyra.worldgen."):
            target_parts = tuple(name.replace(":", ".").split(".")[2:])
            if target_parts[0].startswith("__"):
                continue  # __version__ and the like
            target = layer_of(target_parts)
            if target not in ALLOWED[layer]:
                bad.append(f"{relative}:{line} ({layer}) imports {name} ({target})")
        elif name.partition(".")[0] in SIMULATOR_ROOTS and layer != "kit":
            bad.append(f"{relative}:{line} ({layer}) imports {name}; only kit/ may")
    return bad


def test_layers_import_downwards_only():
    """core < stages < build/certify/preview < session < faces, batch < explore < cli; kit on top, imported by nobody;
    stages ignore one another; training stands on generation and is imported by cli alone."""
    assert [line for path in sorted(PACKAGE.rglob("*.py")) for line in violations(path)] == []


def test_every_root_module_has_a_layer():
    """A new file or folder at the package root is placed on purpose."""
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p.is_dir() and any(p.glob("*.py")))}
    assert names - set(ALLOWED) - TOP - {"__init__", "__main__"} == set()


@pytest.mark.parametrize(
    ("source", "where", "count"),
    [
        ("from ..sim import usd_mesh", "generation/pipeline.py", 1),
        ("def f():\n    from lyra.worldgen.generation import photo", "reconstruction/fuse.py", 1),
        ("import lyra.worldgen.kit.controller", "cli/main.py", 1),
        ("REGISTRY = {'usd': 'lyra.worldgen.sim.simulate:run'}", "core/optional.py", 1),
        ("def f():\n    import omni.usd", "sim/usd_stage.py", 1),
        ("from ..training import run", "generation/painter.py", 1),
        ("from .training import run", "build.py", 1),
        ("from .session import Session", "build.py", 1),
        ("from ..explore import desk", "kit/camera_path.py", 1),
        ("from ..explore import desk", "faces/contents.py", 1),
        ("from ..faces import contents", "session/session.py", 1),
        ("from ..faces import contents", "kit/overlay.py", 0),
        ("from ..session import Session", "cli/main.py", 0),
        ("from ..generation import warp", "training/run.py", 0),
        ("from ..core.mesh import TriMesh", "sim/usd_mesh.py", 0),
        ("from .generation import photo", "build.py", 0),
    ],
)
def test_the_rule_sees_what_it_should(source, where, count, tmp_path, monkeypatch):
    """The checker itself: lazy, relative, absolute and by-name imports are all seen."""
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert len(violations(path)) == count

"""Who may import whom, lazy imports included: read from the syntax tree, so nothing has to run. Nobody in a circle."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "exts" / "lyra.worldgen" / "lyra" / "worldgen"
IMPORT_ROOTS = (ROOT / "exts" / "lyra.worldgen", ROOT / "robot_tasks")
"""Folders whose modules import one another."""
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


@cache
def statements(path: Path) -> tuple[ast.Import | ast.ImportFrom | ast.Constant, ...]:
    """All nodes of a file's syntax tree that can name a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Constant))


def imported_modules(path: Path, package_parts: tuple[str, ...], *, by_name: bool) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a file, at any depth, type-checking blocks included.

    Args:
        path: of the file.
        package_parts: of the package that it is in, for relative imports.
        by_name: modules that strings name are imported, too.
    """
    found = []
    for node in statements(path):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package_parts[: len(package_parts) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            found += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
        elif by_name and isinstance(node.value, str) and BY_NAME.fullmatch(node.value):
            found.append((node.lineno, node.value))  # require("..."), registry entries, `python -m ...`
    return found


def violations(path: Path) -> list[str]:
    relative = path.relative_to(PACKAGE)
    module_parts = relative.with_suffix("").parts
    layer = layer_of(module_parts)
    bad = []
    for line, name in imported_modules(path, ("lyra", "worldgen", *module_parts[:-1]), by_name=True):
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


def import_graph(roots: tuple[Path, ...]) -> dict[str, dict[str, int]]:
    """For every module below some folders those that it imports, and in which line.

    Modules that strings name are left out: a registry knows those that know it, and loads them when it is asked to.
    """
    files = {}
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = (path, parts[:-1])
    graph: dict[str, dict[str, int]] = {}
    for module, (path, package_parts) in files.items():
        graph[module] = {}
        for line, name in imported_modules(path, package_parts, by_name=False):
            # `from package import name`: a module, or what the package itself holds.
            target = next((n for n in (name, name.rpartition(".")[0]) if n in files), module)
            if target != module:
                graph[module].setdefault(target, line)
    return graph


def circle(graph: dict[str, dict[str, int]]) -> str:
    """A circle of imports in words; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names = error.args[1][::-1]
        steps = [f"{name} (line {graph[name][after]}) imports" for name, after in pairwise(names)]
        return f"{' '.join(steps)} {names[-1]}: move what both sides need into a module below them"
    return ""


def test_no_module_imports_itself_by_a_detour():
    """Imports in functions and for types count as well: a circle that does not fail is a circle nevertheless."""
    graph = import_graph(IMPORT_ROOTS)
    assert {"lyra.worldgen.build.run", "lyra_tasks.navigation.env"} < set(graph)
    assert circle(graph) == ""


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ({"a": "from .b import x", "b": "from .a import y"}, {"a", "b"}),
        ({"a": "from . import b", "b": "def f():\n    from .a import y"}, {"a", "b"}),
        ({"a": "import p.b", "b": "if TYPE_CHECKING:\n    from .c import C", "c": "from p.a import y"}, set("abc")),
        ({"__init__": "from .a import x", "a": "from . import y", "b": "from .a import x"}, {"", "a"}),
        ({"q/__init__": "", "q/a": "from ..b import x", "b": "from .q import a"}, {"q.a", "b"}),
        ({"__init__": "from .a import x", "a": "from . import b", "b": "import os"}, set()),
        ({"a": "from .b import x", "b": "NAMES = {'a': 'p.a:x'}"}, set()),
        ({"a": "from .b import x; from .c import x", "b": "from .c import x", "c": "from r.a import x"}, set()),
    ],
)
def test_the_search_for_circles_sees_what_it_should(sources, named, tmp_path):
    """The checker itself: every way to import closes a circle, and the message names who is in it."""
    for module, source in sources.items():
        path = tmp_path / "p" / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    told = circle(import_graph((tmp_path,)))
    assert set(re.findall(r"(\S+) \(line \d+\)", told)) == {f"p.{name}".rstrip(".") for name in named}


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

"""Commands and snippets in the pages do what they say: parsed, checked against the real parser, and run where cheap."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "robot_tasks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """(page name, content) of every fenced block of that language."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            (page.relative_to(ROOT).as_posix(), b) for b in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        ]
    return found


def commands() -> list[str]:
    return [line for _, block in blocks("bash") for line in block.splitlines() if line.strip() and line[0] != "#"]


def check_lab_command(arguments: list[str]) -> None:
    """Commands of the robot tasks' own environment, whose packages are not here: our parser, and names of tasks."""
    assert arguments[0] == "-m"
    module, *rest = arguments[1:]
    if module.startswith("lyra_tasks."):
        assert importlib.import_module(module).build_parser().parse_args(rest)
        return
    assert module == "isaaclab" and rest[0] in {"list_envs", "train", "play"}
    tasks = (ROOT / "robot_tasks" / "lyra_tasks" / "navigation" / "__init__.py").read_text(encoding="utf-8")
    if "--task" in rest:
        assert f'"{rest[rest.index("--task") + 1]}"' in tasks


def check_simulator_command(arguments: list[str]) -> None:
    """Scripts for Isaac Sim's own Python take these arguments."""
    script, *rest = arguments
    assert (ROOT / script).is_file(), script
    modules = {
        "tools/isaac_sim/drive.py": "lyra_tasks.isaac_sim.run",
        "tools/isaac_sim/record.py": "lyra_tasks.isaac_sim.record",
        "tools/isaac_sim/load_world.py": "lyra.worldgen.kit.headless",
    }
    module = importlib.import_module(modules[script])
    assert module.build_parser().parse_args(rest).world


@pytest.mark.parametrize("line", commands())
def test_commands_exist_and_take_these_arguments(line, monkeypatch):
    """Scripts are there and executable; every flag of the command-line tool is one that it knows."""
    program, *arguments = shlex.split(line, comments=True)
    if program.startswith("tools/"):
        assert os.access(ROOT / program, os.X_OK), program
        return
    if program == ".venv-lab/bin/python":
        check_lab_command(arguments)
        return
    if program.endswith("python.sh"):
        check_simulator_command(arguments)
        return
    assert program == ".venv/bin/lyra-worldgen", f"{line}: expected a script or the command-line tool"
    from lyra.worldgen.cli.main import build_parser

    args = build_parser().parse_args(arguments)
    assert callable(args.run)


@pytest.mark.parametrize(("page", "source"), blocks("python"))
def test_snippets_import_what_exists(page, source):
    """Each snippet is valid Python and imports names that are there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"


def test_the_five_lines_run(tmp_path, monkeypatch, capsys):
    """The README's example makes a world and prints its verdict and stage; tiny stages stand in for the real ones."""
    from fake_stages import fake_stages

    (source,) = [b for page, b in blocks("python") if page == "README.md"]
    assert len([line for line in source.splitlines() if line.strip()]) <= 5
    photo = tmp_path / "tests" / "data" / "photos" / "lobby.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"photo of a lobby, as the tiny stages like it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lyra.worldgen.build.run.default_stages", fake_stages)
    exec(compile(source, "README.md", "exec"), {})
    verdict, stage = capsys.readouterr().out.split()
    assert verdict == "passed" and (tmp_path / stage).is_file()


def test_ci_and_readme_agree():
    """What CI runs is the command that the README names for tests."""
    ci = (ROOT / ".ci" / "run").read_text()
    assert "tools/test.sh" in ci and "tools/test.sh" in commands()


def test_shipped_photo_of_the_quickstart_exists():
    """The default photo is in the repository."""
    text = (ROOT / "tools" / "quickstart.sh").read_text()
    match = re.search(r"\$ROOT/(tests/data/photos/[\w.]+)", text)
    assert match and (ROOT / match[1]).is_file()
    listed = subprocess.run(["git", "check-ignore", "-q", match[1]], cwd=ROOT, check=False).returncode
    assert listed != 0, "the photo is ignored by git and would not travel"

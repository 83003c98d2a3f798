"""`evaluate POLICY --worlds`: handed on to the robot tasks' own Python, for which a small program stands in."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from lyra.worldgen.cli import tasks_environment
from lyra.worldgen.cli.main import main
from lyra.worldgen.cli.tasks_environment import tasks_python
from lyra.worldgen.core.errors import ConfigError, DependencyError

SUMMARY = {"policy": "baseline", "count": 12, "success": 0.9167, "spl": 0.85, "collisions_per_m": 0.01, "time_s": None}


@pytest.fixture
def python(tmp_path, monkeypatch) -> Path:
    """An interpreter that writes down its arguments, talks as Isaac Lab does, and prints a result."""
    path = tmp_path / "python"
    path.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$@" > {tmp_path}/arguments
echo '[INFO] {{"no": "result"}}'
if [ -n "$FAIL" ]; then echo "error: worlds are damaged" >&2; exit "$FAIL"; fi
cat <<'END'
{json.dumps(SUMMARY, indent=2)}
END
"""
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(tasks_environment.VARIABLE, str(path))
    return path


def test_policies_are_driven_where_isaac_lab_is(python, tmp_path, capsys):
    """Arguments arrive as given, the result comes back as a table or as JSON."""
    flags = ["--out", str(tmp_path / "out"), "--task", "Lyra-Patrol-DiffDrive-Lidar", "--physics", "ovphysx"]
    assert main(["evaluate", "baseline", "--worlds", "worlds/*", *flags, "--num-envs", "8"]) == 0
    said = capsys.readouterr().out
    assert "evaluation.md" in said and said.splitlines()[1].split() == ["12", "0.9167", "0.85", "0.01", "-"]
    arguments = (python.parent / "arguments").read_text().splitlines()
    assert arguments[:5] == ["-m", "lyra_tasks.evaluate", "baseline", "--worlds", "worlds/*"]
    assert arguments[5:] == [
        *("--out", str(tmp_path / "out")),
        *("--task=Lyra-Patrol-DiffDrive-Lidar", "--physics=ovphysx", "--num-envs=8"),
    ]
    assert main(["evaluate", "model.pt", "--worlds", "w", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == SUMMARY


@pytest.mark.parametrize(("code", "expected"), [(2, 2), (3, 3), (4, 4), (1, 4), (139, 4)])
def test_failures_keep_their_code(python, monkeypatch, capfd, code, expected):
    """What the other process said stays visible; crashes are failures of a backend."""
    monkeypatch.setenv("FAIL", str(code))
    assert main(["evaluate", "baseline", "--worlds", "worlds"]) == expected
    said = capfd.readouterr().err
    assert "worlds are damaged" in said and f"exit code {code}" in said


def test_output_without_a_result_is_an_error(python, capsys):
    """A process that ends well and says nothing useful."""
    python.write_text("#!/bin/sh\necho nothing\n")
    assert main(["evaluate", "baseline", "--worlds", "worlds"]) == 4
    assert "printed no result" in capsys.readouterr().err


def test_the_environment_is_found_or_named(tmp_path):
    """The named one first, then the checkout's; without either the message says how to get one."""
    (tmp_path / "named").write_text("")
    named = {tasks_environment.VARIABLE: str(tmp_path / "named")}
    assert tasks_python(named, tmp_path) == tmp_path / "named"
    with pytest.raises(ConfigError, match="names no interpreter"):
        tasks_python({tasks_environment.VARIABLE: str(tmp_path / "gone")}, tmp_path)
    with pytest.raises(DependencyError, match=r"tools/test\.sh makes it as \.venv-lab"):
        tasks_python({}, tmp_path)
    python = tmp_path / ".venv-lab" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    assert tasks_python({}, tmp_path) == python


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.pt", "b.pt", "--worlds", "w"], "2 policies are named"),
        (["photo.png", "--persistence", "--physics", "ovphysx"], "--physics means something with --worlds only"),
    ],
)
def test_what_does_not_belong_together_is_refused(python, capsys, arguments, said):
    """Exit code 2 before anything is started."""
    assert main(["evaluate", *arguments]) == 2
    assert said in capsys.readouterr().err and not (python.parent / "arguments").exists()

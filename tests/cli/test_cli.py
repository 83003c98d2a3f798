"""The command line: what it prints where, and its exit codes; driven by tiny stages."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fake_stages import content, fake_stages
from lyra.worldgen.build import run as build_run
from lyra.worldgen.cli import doctor, flags, generate, terminal
from lyra.worldgen.cli.main import build_parser, main
from lyra.worldgen.core.errors import BackendError, DependencyError


@pytest.fixture
def photo(tmp_path: Path, monkeypatch) -> Path:
    """A photo in the working folder, and stages that accept it."""
    path = tmp_path / "kitchen.jpg"
    path.write_bytes(b"photo of a kitchen")
    monkeypatch.chdir(tmp_path)
    use(monkeypatch)
    return path


def use(monkeypatch, **options) -> None:
    monkeypatch.setattr(build_run, "default_stages", lambda: fake_stages(**options))


def test_generate_then_again(photo, capsys):
    """The result goes to stdout, everything else to stderr; the second run does nothing and says the same."""
    assert main(["generate", "kitchen.jpg"]) == 0
    first = capsys.readouterr()
    assert first.out.startswith("worlds/kitchen: certified\n")
    assert "preview.png" in first.out
    assert "100 %  preview" in first.err and "\x1b" not in first.err
    before = content(Path("worlds/kitchen"))
    assert main(["generate", "kitchen.jpg"]) == 0
    assert capsys.readouterr().out == first.out
    assert content(Path("worlds/kitchen")) == before


def test_json_is_the_only_thing_on_stdout(photo, capsys):
    """`--json` prints one document."""
    assert main(["generate", "kitchen.jpg", "--json", "--seed", "3", "--path", "turn"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["passed"] is True and values["verdict"] == "passed" and values["finished"] is True
    assert values["folder"] == str(photo.parent / "worlds" / "kitchen")


def test_json_lines_speak_to_a_program(photo, capsys):
    """Progress, then the result; every line is one object."""
    assert main(["generate", "kitchen.jpg", "--json-lines"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {e["event"] for e in events} == {"progress", "result"}
    assert [e["event"] for e in events].index("result") == len(events) - 1
    fractions = [e["fraction"] for e in events[:-1]]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert set(events[0]) == {"event", "stage", "done", "total", "fraction", "eta_s", "note"}
    assert events[-1]["passed"] is True


def test_json_lines_errors_are_events(photo, capsys):
    """An error is an event too, with its exit code."""
    assert main(["generate", "none.jpg", "--json-lines"]) == 2
    captured = capsys.readouterr()
    event = json.loads(captured.out)
    assert event == {
        "event": "error",
        "message": "the photo does not exist; check the path: none.jpg",
        "exit_code": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "none.jpg"], "the photo does not exist"),
        (["generate", "."], "the photo is a folder"),
        (["generate", "text.jpg"], "the file is no picture"),
        (["generate", "kitchen.jpg", "--path", "trun"], "unknown path 'trun', did you mean 'turn'?"),
        (["generate", "kitchen.jpg", "--camera-height", "0"], "geometry.camera_height_m is 0.0"),
        (["generate", "kitchen.jpg", "--seed", "-1"], "seed is -1; expected 0 to"),
        (["generate", "kitchen.jpg", "--set", "generation.pathh=1"], "unknown key generation.pathh; did you mean"),
        (["generate", "kitchen.jpg", "--set", "nonsense"], "expected KEY=VALUE"),
        (["generate", "kitchen.jpg", "--set", "seed=[1"], "is no YAML"),
        (["generate", "kitchen.jpg", "--config", "none.yaml"], "the configuration file does not exist"),
        (["generate", "kitchen.jpg", "--config", "bad.yaml"], "unknown key generation.pathh; did you mean 'path'?"),
        (["generate", "kitchen.jpg", "--out", "text.jpg"], "the output is a file"),
        (["generate", "kitchen.jpg", "--out", "."], "the output folder holds other things"),
        (["generate", "kitchen.jpg", "--out", "text.jpg/x"], "a part of the path is a file"),
        (["certify", "."], "this is no world folder"),
        (["preview", "none"], "this is no world folder"),
        (["info", "kitchen.jpg"], "this is no world folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(photo, capsys, arguments, message):
    """Each mistake: one line that says what to do, exit code 2, nothing written."""
    Path("text.jpg").write_text("hello")
    Path("bad.yaml").write_text("generation:\n  pathh: turn\n")
    before = content(Path("."))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}" if message.startswith("the ") else "error: ")
    assert message in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""
    assert content(Path(".")) == before


@pytest.mark.parametrize(
    "arguments", [[], ["generat"], ["generate"], ["generate", "a.jpg", "--seed", "x"], ["info", "-q"]]
)
def test_wrong_usage_is_one_line_and_code_2(arguments, capsys):
    """Unknown commands and flags point at the help."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "--help" in error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DependencyError("torch is missing; install it with: pip install 'lyra-worldgen[gen]'"), 3),
        (BackendError("the painter returned NaN"), 4),
        (ZeroDivisionError("a bug\nin two lines"), 4),
    ],
)
def test_failures_have_their_codes(photo, monkeypatch, capsys, error, code):
    """One line without a traceback; with -v the traceback too."""
    use(monkeypatch, fail_in="mesh", error=error)
    assert main(["generate", "kitchen.jpg"]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text and len([line for line in text.splitlines() if line.startswith("error: ")]) == 1
    use(monkeypatch, fail_in="mesh", error=error)
    assert main(["generate", "kitchen.jpg", "-v"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_failed_certificate_is_code_1(photo, monkeypatch, capsys):
    """The world is finished, and the exit code says that it is not certified."""
    from dataclasses import replace

    stages = fake_stages()

    def failing(context) -> None:
        stages.items[4].run(context)
        (context.notes.world / "certificate.json").write_text(
            json.dumps({"summary": "not certified: drops.landed", "facts": {"connected_area_m2": 21.5}})
        )
        context.notes.facts = {"verdict": "failed"}

    broken = replace(stages, items=(*stages.items[:4], replace(stages.items[4], run=failing), stages.items[5]))
    monkeypatch.setattr(build_run, "default_stages", lambda: broken)
    assert main(["generate", "kitchen.jpg"]) == 1
    out = capsys.readouterr().out
    assert "NOT certified" in out and "drops.landed" in out and "21.5 m²" in out
    assert main(["generate", "kitchen.jpg", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_dry_run_prints_a_config_that_can_be_used(photo, capsys):
    """The resolved settings are YAML for --config, and nothing is made."""
    assert main(["generate", "kitchen.jpg", "--dry-run", "--seed", "9", "--set", "simulation.cell_m=0.1"]) == 0
    Path("c.yaml").write_text(capsys.readouterr().out)
    assert not Path("worlds").exists()
    assert main(["generate", "kitchen.jpg", "--config", "c.yaml", "--dry-run", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["seed"] == 9 and values["simulation"]["cell_m"] == 0.1


def test_certify_preview_and_info(photo, capsys):
    """The commands for an existing world; info notices a damaged file."""
    assert main(["generate", "kitchen.jpg"]) == 0
    assert main(["certify", "worlds/kitchen"]) == 0
    assert main(["preview", "worlds/kitchen"]) == 0
    capsys.readouterr()
    assert main(["info", "worlds/kitchen"]) == 0
    out = capsys.readouterr().out
    assert "finished, passed" in out and "explore" in out and "every file is as its stage left it" in out
    Path("worlds/kitchen/mesh.glb").write_bytes(b"x")
    assert main(["info", "worlds/kitchen", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["code"] == "world.file_changed"


def test_ctrl_c_is_code_130_and_the_next_run_finishes(photo, monkeypatch, capsys):
    """An interrupt inside a stage leaves only whole stages."""
    use(monkeypatch, fail_in="splats", error=KeyboardInterrupt())
    assert main(["generate", "kitchen.jpg"]) == 130
    assert "Traceback" not in capsys.readouterr().err
    use(monkeypatch)
    assert main(["generate", "kitchen.jpg", "--out", "whole"]) == 0
    assert main(["generate", "kitchen.jpg"]) == 0
    assert content(Path("worlds/kitchen")) == content(Path("whole"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_process_cleanly(photo, number):
    """`kill` and Ctrl-C: exit code 130, one line, no lock and no half stage left."""
    program = (
        # Whoever runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "from lyra.worldgen.build import run; from fake_stages import fake_stages;"
        "run.default_stages = lambda: fake_stages(0.2);"
        "from lyra.worldgen.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    tests = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", program, tests, "generate", "kitchen.jpg", "--json-lines"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(6):
        process.stdout.readline()
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled" in error and "Traceback" not in error
    left = content(Path("worlds/kitchen"))
    assert not [name for name in left if name.startswith(".") and not name.startswith(".thumbs")]


def test_the_process_is_left_as_it_was(photo):
    """`main` can be called from a program: signals, warnings and logging are restored."""
    before = (signal.getsignal(signal.SIGINT), logging.getLogger().handlers[:], warnings.filters[:])
    main(["generate", "kitchen.jpg"])
    assert (signal.getsignal(signal.SIGINT), logging.getLogger().handlers[:], warnings.filters[:]) == before


def test_a_terminal_without_our_letters(tmp_path):
    """Names and signs that the terminal cannot show become question marks, never a crash."""
    done = subprocess.run(
        [sys.executable, "-m", "lyra.worldgen", "generate", str(tmp_path / "größe²±.jpg")],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 2 and b"the photo does not exist" in done.stderr and b"Traceback" not in done.stderr


def test_help_explains_every_flag(capsys):
    """Each configuration flag shows its field's docstring and default; a switch says what is so with it."""
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["generate", "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag, key, kind, _ in generate.FLAGS:
        help_text, default = flags.field_help(key)
        said = help_text.removeprefix("whether ") if kind is bool else f"{help_text} (default: {default})"
        assert flag in text and help_text and said in text
    assert "whether" not in text and "default: False" not in text
    assert "examples:" in text


def test_eta_follows_the_speed_of_this_run():
    """A resumed run does not count what was done before; the first moments say nothing."""
    now = [0.0]
    eta = terminal.Eta(lambda: now[0])
    assert eta.update(0.5) is None
    now[0] = 0.5
    assert eta.update(0.6) is None
    now[0] = 10.0
    assert eta.update(0.75) == pytest.approx(10.0)


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_the_bar_redraws_one_line():
    """On a terminal one line is redrawn, not longer than the terminal is wide, and is removed at the end."""
    now = [0.0]
    screen = Screen()
    bar = terminal.TerminalProgress(screen, clock=lambda: now[0])
    for i in range(11):
        now[0] = float(i)
        bar.update("explore", 100 * i, 1000, "n" * 300)
    bar.clear()
    text = screen.getvalue()
    assert "\n" not in text and "about 5 s left" in text and text.endswith("\r\x1b[K")
    assert max(len(part) for part in text.split("\r\x1b[K")) < 200


def test_lines_under_the_bar_are_redrawn_and_removed(monkeypatch):
    """They move up before they are drawn again, as many as the terminal is high, and nothing of them stays."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "6")
    now = [0.0]
    screen = Screen()
    bar = terminal.TerminalProgress(screen, clock=lambda: now[0])
    for count in (2, 9, 1):
        now[0] += 1.0
        bar.below = tuple(f"    job {i} {'x' * 100}" for i in range(count))
        bar.update("batch", count, 100)
    drawn = screen.getvalue().split("\r")
    assert [part.count("\n") for part in drawn[1:]] == [2, 4, 1]
    assert drawn[2].startswith("\x1b[2A\x1b[J") and drawn[3].startswith("\x1b[4A\x1b[J")
    assert drawn[2].endswith("... and 6 more") and max(len(line) for line in drawn[1].splitlines()) <= 60 + 3
    bar.clear()
    assert screen.getvalue().endswith("\r\x1b[1A\x1b[J")


def test_durations_read_well():
    """Seconds, minutes, hours."""
    assert [terminal.duration(s) for s in (0.4, 59.4, 61, 3700, -3)] == ["0 s", "59 s", "1:01 min", "1:01 h", "0 s"]


def test_doctor_survives_packages_that_crash(tmp_path, monkeypatch):
    """A missing, a broken and a crashing package each cost one line; the others are still looked at."""
    (tmp_path / "fine.py").write_text("print('hello')")
    (tmp_path / "broken.py").write_text("raise OSError('libX.so.1: cannot open shared object file')")
    (tmp_path / "crash.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    problems = doctor.probe_imports(["broken", "crash", "absent_package", "fine"])
    assert problems["fine"] == ""
    assert "libX.so.1" in problems["broken"]
    assert "ended with 9" in problems["crash"]
    assert "No module named 'absent_package'" in problems["absent_package"]


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    """Missing packages of `generate` are named with the extra that brings them; exit code 3."""
    packages = (
        doctor.Package(module="numpy", distribution="numpy", extra="core", without="nothing works"),
        doctor.Package(module="absent_a", distribution="absent-a", extra="sim", without="USD files"),
        doctor.Package(module="absent_b", distribution="absent-b", extra="", without="extras"),
    )
    monkeypatch.setattr(doctor, "PACKAGES", packages)
    monkeypatch.setattr(doctor, "gpu_facts", dict)
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "pip install 'lyra-worldgen[sim]'" in out and "generate cannot run: absent-a" in out
    monkeypatch.setattr(doctor, "PACKAGES", packages[:1])
    assert main(["doctor", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["painter"] == "patch"
    assert {row["card"] for row in values["lyra2"]} >= {"80 GB (H100)", "24 GB (RTX 4090)"}


def test_doctor_says_what_lyra_2_takes():
    """One row for each card, and one for this machine's where it has a card."""
    without = doctor.lyra2_lines(None)
    assert any("48 GB (L40S)" in line for line in without) and "no CUDA device" in without[-1]
    card = doctor.lyra2_card({"names": ["NVIDIA A100-SXM4-80GB, 80 GiB"], "free": 79 * 2**30})
    assert card is not None and card.peak_flops > 0
    assert "here: NVIDIA A100" in doctor.lyra2_lines(card)[-1]


def test_module_and_script_are_the_same_command():
    """`python -m lyra.worldgen` works."""
    done = subprocess.run(
        [sys.executable, "-m", "lyra.worldgen", "--version"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.startswith("lyra-worldgen ")

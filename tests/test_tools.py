"""The scripts and house checks in tools/."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import changelog
import check_docs
import check_files
import probe_install

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted((ROOT / "tools").glob("*.sh")), ROOT / ".ci" / "run"]


def run(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], check=False, capture_output=True, text=True, **options)


@pytest.fixture
def bare_path(tmp_path) -> str:
    """A search path with the usual small programs and no Python at all."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "basename", "readlink", "df", "awk", "sed", "grep", "cat", "uname", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_shell_scripts_parse(script):
    """Every script is valid bash."""
    result = run("bash", "-n", script)
    assert result.returncode == 0, result.stderr


def test_style_is_checked_in_every_file():
    """The linter looks at all Python of the project; its own list of what to pass over holds names that we use, too."""
    pytest.importorskip("ruff")
    seen = run(sys.executable, "-m", "ruff", "check", "--show-files", ".", cwd=ROOT).stdout.split()
    written = {str(ROOT / path) for path in check_files.repository_files() if path.suffix == ".py"}
    assert written - set(seen) == set()


def test_files_without_git_leave_out_only_what_was_made(tmp_path, monkeypatch):
    """An unpacked archive has no list of its files; a package called `build` is part of it all the same."""
    for name in (
        "pkg/build/run.py",
        "build/lib/run.py",
        ".venv/x.py",
        "tools/web/node_modules/a.js",
        "a/__pycache__/b.pyc",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(check_files, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert check_files.repository_files() == [Path("pkg/build/run.py")]


def test_ci_runs_the_test_command():
    """CI is the README's command, executable, with its exit code."""
    text = (ROOT / ".ci" / "run").read_text()
    assert "exec bash tools/test.sh" in text and os.access(ROOT / ".ci" / "run", os.X_OK)


def test_quickstart_names_a_missing_photo(tmp_path):
    """A photo that does not exist stops before anything is installed, with exit code 2."""
    result = run(ROOT / "tools" / "quickstart.sh", "absent.jpg", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.strip().endswith(f"no such photo; give the path of a picture file: {tmp_path / 'absent.jpg'}")


def test_quickstart_names_a_missing_python(bare_path, tmp_path):
    """Without an interpreter the message says which and how to get it."""
    photo = tmp_path / "photo.png"
    photo.touch()
    env = {"PATH": bare_path, "HOME": str(tmp_path)}
    result = run("bash", ROOT / "tools" / "quickstart.sh", photo, env=env)
    assert result.returncode == 3 and "no Python 3.11 or 3.12 found" in result.stderr


def test_quickstart_explains_itself():
    """--help prints the head of the script and nothing of its body."""
    result = run(ROOT / "tools" / "quickstart.sh", "--help")
    assert result.returncode == 0
    assert "tools/quickstart.sh [PHOTO]" in result.stdout and "set -" not in result.stdout


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("find_python 3.11 3.12", 0, ""),
        ("find_python 9.9", 1, ""),
        ("need_disk 99999999", 3, "MiB are free"),
        ("mkdir -p $T/photos; touch $T/photos/a; make_venv $T/photos python3", 3, "is no virtual environment"),
        ("make_venv $T/venv $T/no_venv", 3, "has no venv module"),
    ],
)
def test_environment_helpers(body, code, said, tmp_path):
    """Each way a machine can be unfit has its own message."""
    lame = tmp_path / "no_venv"
    lame.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.11.2 && exit 0\nexit 1\n')
    lame.chmod(0o755)
    result = run("bash", "-c", f". {ROOT}/tools/_env.sh; T={tmp_path}; {body}")
    assert result.returncode == code and said in result.stderr


def test_a_shim_that_does_not_run_is_passed_over(tmp_path):
    """A pyenv shim exists for versions that are not active; it is no interpreter."""
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = run("bash", "-c", f". {ROOT}/tools/_env.sh; find_python 3.11 3.12", env=env)
    assert result.returncode == 0 and str(tmp_path) not in result.stdout


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("docs/a.md", b"See /ho" + b"me/me/x\n", "a path of somebody's machine"),
        ("docs/a.md", b"no newline", "does not end with a newline"),
        ("docs/a.md", b"a\r\n", "carriage returns"),
        ("docs/a.md", b"\xff\xfe\n", "not UTF-8"),
        ("docs/a.png", b"\0" * 500_001, "the limit is 500000"),
        ("exts/w.safetensors", b"\0" * 8_000_001, "the limit is 8000000"),
        ("exts/lyra.worldgen/lyra/worldgen/web/site/app.js", b" " * 4_000_001, "the limit is 4000000"),
        ("exts/lyra.worldgen/lyra/worldgen/web/site/other.js", b" " * 500_001, "the limit is 500000"),
        ("exts/a.py", b"assert x.shape == (3,)\n", "assert without a message"),
        ("exts/a.py", b"x = np.random.rand(3)\n", "global random generator"),
        ("tools/a.py", b"# TO" + b"DO: later\n", "unfinished mark"),
    ],
)
def test_file_rules_see_what_they_should(name, data, said):
    """Each rule has an offender that it names."""
    (line, *_) = check_files.problems(Path(name), data)
    assert said in line and line.startswith(name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("docs/a.md", b"worlds/kitchen and https://example.org/home/x\n"),
        ("exts/w.safetensors", b"\0" * 600_000),
        ("exts/a.py", b"generator.random(3)\n"),
        ("exts/a.py", b'assert x.shape[1] == 3, "ours has three columns"\n'),
        ("docs/empty.md", b""),
    ],
)
def test_file_rules_leave_good_files_alone(name, data):
    """No false alarm."""
    assert check_files.problems(Path(name), data) == []


def test_links_are_followed(tmp_path, monkeypatch):
    """A missing file and a missing heading are named; code blocks and web addresses are not links."""
    monkeypatch.setattr(check_docs, "ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# One two\n\n## What's here?\n")
    (tmp_path / "a.md").write_text(
        "[1](b.md) [2](b.md#one-two) [3](b.md#whats-here) [4](c.md) ![5](d.png) [6](b.md#nine) [7](https://x)\n"
        "```\n[8](nowhere.md)\n```\n"
    )
    assert [line.split()[1].rstrip(":") for line in check_docs.broken_links(Path("a.md"))] == [
        "c.md", "d.png", "b.md#nine",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1"),
        ("libusb-1.0.so.0: cannot open shared object file: No such file", "apt-get install libusb-1.0-0"),
        ("libodd.so.3: cannot open shared object file", "install the system package that holds libodd.so"),
        ("No module named 'torch'", "run tools/quickstart.sh again"),
    ],
)
def test_missing_system_libraries_are_named(message, advice):
    """An import error leads to the package that mends it."""
    assert probe_install.advice(message).startswith(advice)


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_scripts_probe_what_they_install(script):
    """What a script looks for after installing is brought by the extras that it installs, and nothing else is."""
    text = (ROOT / "tools" / script).read_text()
    extras = re.search(r"^extras=\"?([\w,]+)", text, re.MULTILINE)[1]
    assert 'install_package .venv "$extras"' in text and 'probe_install.py "$extras"' in text
    found = {package.extra for package in probe_install.packages_of(extras).values()}
    assert {"core", "gen", "recon", "sim", "physx", "evaluate"} <= found <= {"core", *extras.split(",")}


def test_changelog_takes_fragments_in(tmp_path):
    """Fragments land in the section of the version, the newest section on top, nothing is lost."""
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "README.md").write_text("how")
    (folder / "walls.fixed.md").write_text("Walls stand\nstraight.\n")
    by_kind = {
        k: [e for p in v for e in changelog.entries(p.read_text())] for k, v in changelog.fragments(folder).items()
    }
    page = changelog.release(changelog.HEADER, "0.1.0", by_kind)
    page = changelog.release(page, "0.1.0", {"added": ["- doors"], "fixed": ["- floors"]})
    page = changelog.release(page, "0.2.0", {"removed": ["- windows"]})
    assert page.startswith(changelog.HEADER)
    order = ["## [0.2.0]", "- windows", "## [0.1.0]", "- floors\n- Walls stand straight.", "- doors"]
    assert all(page.count(words) == 1 for words in order)
    assert page.index("## [0.2.0]") < page.index("- windows") < page.index("## [0.1.0]") < page.index("- floors")
    (folder / "oops.md").write_text("x")
    with pytest.raises(SystemExit, match="expected <topic>"):
        changelog.fragments(folder)


@pytest.mark.slow
def test_wheel_holds_every_data_file(tmp_path):
    """A built wheel carries weights, cards and pages beside the code, and no tests."""
    source = tmp_path / "source"
    tracked = [
        p for p in check_files.repository_files() if p.parts[0] in {"exts", "pyproject.toml", "README.md", "LICENSE"}
    ]
    for path in tracked:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    result = run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", tmp_path / "out", source)
    assert result.returncode == 0, result.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = Path("exts/lyra.worldgen/lyra")
    wanted = {p.relative_to(package.parent).as_posix() for p in tracked if package in p.parents}
    assert wanted - held == set()
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert not any(name.startswith(("tests/", "tools/")) for name in held)

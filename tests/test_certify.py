"""The certificate says what PhysX found: a whole room passes, and each defect fails the line that is about it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.certify import Certificate, Line, certify_world
from lyra.worldgen.certify.judge import PHYSICS_LINES
from lyra.worldgen.certify.page import render_page
from lyra.worldgen.certify.world_data import read_episodes, read_world
from lyra.worldgen.core.config import CertificateConfig
from lyra.worldgen.core.errors import Cancelled, InputError
from lyra.worldgen.core.progress import Progress
from physx_rooms import write_room_world

needs_physx = pytest.mark.physx


def lines_of(certificate: Certificate) -> dict[str, Line]:
    return {line.id: line for line in certificate.lines}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Certificate, dict[str, str]]:
    """A sound room, its certificate and the hashes of its files before."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    folder = tmp_path_factory.mktemp("whole") / "room"
    write_room_world(folder)
    before = hashes(folder)
    return folder, certify_world(folder), before


@needs_physx
def test_a_sound_room_passes(whole):
    """Every physics line is measured and holds, with the numbers that an exact room must give."""
    _, certificate, _ = whole
    lines = lines_of(certificate)
    assert certificate.passed, certificate.summary
    assert certificate.verdict == "passed" and not certificate.not_measured
    assert set(PHYSICS_LINES) <= set(lines)
    assert lines["drops.landed"].measured == 100
    assert lines["rays.p95"].measured < 0.01  # [cm]: collider and mesh are the same planes
    assert lines["drops.force"].measured < 1
    assert lines["drive.success"].measured == 100
    assert lines["space.area"].measured == pytest.approx(40.3, abs=1.0)  # 42 m2 less two boxes


@needs_physx
def test_only_the_certificate_is_added(whole):
    """The world's own files are read, never written, and nothing half-made stays behind."""
    folder, _, before = whole
    after = hashes(folder)
    assert {k: v for k, v in after.items() if not k.startswith("certificate.")} == before
    assert set(after) - set(before) == {"certificate.json", "certificate.html"}


@needs_physx
def test_json_follows_its_schema(whole):
    """The file is format 1, strict JSON, and tells the same as the object."""
    folder, certificate, _ = whole
    plain = json.loads((folder / "certificate.json").read_text(), parse_constant=pytest.fail)
    assert plain["format"] == 1 and plain["passed"] is True and plain["verdict"] == "passed"
    assert plain["not_measured"] == []
    assert [line["id"] for line in plain["lines"]] == [line.id for line in certificate.lines]
    keys = {"id", "title", "measured", "unit", "limit", "comparison", "passed", "status", "detail", "picture"}
    assert all(set(line) == keys for line in plain["lines"])
    assert plain["timings"]["total"] > 0


@needs_physx
def test_page_is_self_contained(whole):
    """One file: no scripts, no addresses, verdict before the lines, every line present."""
    folder, certificate, _ = whole
    html = (folder / "certificate.html").read_text()
    assert "<script" not in html and not re.search(r'(?:src|href)="(?!data:)', html)
    assert html.index("Certified") < html.index("floor.flat")
    assert all(f'id="{line.id}"' in html for line in certificate.lines)
    assert html.count("data:image/") >= 3
    assert len(html) < 3_000_000


@needs_physx
@pytest.mark.slow
def test_two_runs_give_the_same_bytes(whole, tmp_path):
    """But for the timings, a second certificate of the same files is the same."""
    folder, _, _ = whole
    write_room_world(tmp_path / "room")
    certify_world(tmp_path / "room")

    def stable(path: Path) -> dict:
        plain = json.loads((path / "certificate.json").read_text())
        return {k: v for k, v in plain.items() if k != "timings"}

    assert stable(tmp_path / "room") == stable(folder)
    assert (tmp_path / "room" / "certificate.html").read_bytes() == (folder / "certificate.html").read_bytes()


@needs_physx
@pytest.mark.slow
@pytest.mark.parametrize(
    ("defect", "failing"),
    [
        ({"hole": (0.5, -2.0, 2.0, 0.5)}, {"floor.closed", "drops.lowest", "drops.landed"}),
        ({"flipped": True}, {"winding.front", "drops.landed", "floor.closed"}),
        ({"missing_from_map": ((0.6, -1.6, 0.0), (1.4, -0.4, 0.7))}, {"map.free"}),
    ],
    ids=["hole in the floor", "inside out", "box that the map does not know"],
)
def test_a_defect_fails_its_line(tmp_path, defect, failing):
    """The certificate of a broken world is written, fails, and names what is broken first."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    write_room_world(tmp_path / "room", **defect)
    certificate = certify_world(tmp_path / "room")
    assert certificate.verdict == "failed" and not certificate.passed
    assert failing <= {line.id for line in certificate.failed}
    assert all(line.passed is False for line in certificate.worst(len(certificate.failed)))
    html = (tmp_path / "room" / "certificate.html").read_text()
    assert (
        "Not certified" in html and json.loads((tmp_path / "room" / "certificate.json").read_text())["passed"] is False
    )


@needs_physx
@pytest.mark.slow
def test_open_wall_is_found(tmp_path):
    """A world with one side missing is not bounded, and fast balls leave it."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    folder = tmp_path / "room"
    write_room_world(folder)
    scene = folder / "world_scene.usda"
    text = scene.read_text()
    start = text.index('def Cube "slab_2"')  # the wall in front of the camera
    scene.write_text(text[:start] + text[text.index("def Cube", start + 1) :])
    certificate = certify_world(folder)
    assert {"bounds.around", "shots.inside"} <= {line.id for line in certificate.failed}


@needs_physx
@pytest.mark.slow
def test_open_sky_is_no_defect(tmp_path):
    """Under open sky nothing is shot upwards, rays into the sky are not compared, and the world passes."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    write_room_world(tmp_path / "yard", open_sky=True)
    certificate = certify_world(tmp_path / "yard")
    assert certificate.passed, certificate.summary
    assert certificate.facts["outdoors"] is True


@needs_physx
@pytest.mark.slow
def test_a_world_without_free_space_fails(tmp_path):
    """A map without a free cell gives nothing to drop on or to drive: the certificate is written and fails."""
    pytest.importorskip("ovphysx", reason="PhysX is not installed")
    from PIL import Image

    write_room_world(tmp_path / "room", episodes=0)
    picture = tmp_path / "room" / "nav" / "map.png"
    with Image.open(picture) as image:
        size = image.size
    Image.new("L", size, 0).save(picture)
    certificate = certify_world(tmp_path / "room")
    assert certificate.verdict == "failed"
    assert "space.area" in {line.id for line in certificate.failed}
    assert {"drops.landed", "drive.success"} <= {line.id for line in certificate.not_measured}


def without_physx(tmp_path: Path) -> str:
    """PYTHONPATH entry in front of which PhysX cannot be imported."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "ovphysx.py").write_text("raise ModuleNotFoundError(\"No module named 'ovphysx'\", name='ovphysx')\n")
    return str(blocked)


def test_without_physx_the_certificate_says_so(tmp_path, monkeypatch):
    """A missing package is no failure of the world: lines stand as not measured, with the extra that would help."""
    write_room_world(tmp_path / "room")
    monkeypatch.setenv("PYTHONPATH", without_physx(tmp_path))
    certificate = certify_world(tmp_path / "room")
    assert not certificate.passed and certificate.verdict == "incomplete"
    assert "drops.landed" in {line.id for line in certificate.not_measured}
    assert any("lyra-worldgen[physx]" in text for text in certificate.warnings)
    plain = json.loads((tmp_path / "room" / "certificate.json").read_text())
    assert "drops.landed" in plain["not_measured"] and plain["passed"] is False
    assert lines_of(certificate)["space.area"].passed is True
    assert "lyra-worldgen[physx]" in (tmp_path / "room" / "certificate.html").read_text()


def fake_interpreter(tmp_path: Path, body: str) -> str:
    """An executable that stands in for the interpreter of the physics process."""
    path = tmp_path / "interpreter"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_a_hanging_process_is_ended_with_its_children(tmp_path):
    """After the timeout nothing of the physics process lives, and the certificate names the timeout."""
    write_room_world(tmp_path / "room")
    pids = tmp_path / "pids"
    body = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    certificate = certify_world(
        tmp_path / "room", cfg=CertificateConfig(timeout_s=1.0), python=fake_interpreter(tmp_path, body)
    )
    assert certificate.verdict == "incomplete"
    assert any("longer than 1 s" in text for text in certificate.warnings)
    for pid in map(int, pids.read_text().split()):
        assert not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that its new parent has not collected yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("print('no licence'); raise SystemExit(7)", "exit code 7"),
        ("import sys; open(sys.argv[4], 'w').write('{')", "nonsense"),
    ],
    ids=["crash", "error", "garbage"],
)
def test_a_broken_process_is_reported(tmp_path, body, told):
    """Crash, error and garbage each end in a certificate that tells which."""
    write_room_world(tmp_path / "room")
    certificate = certify_world(tmp_path / "room", python=fake_interpreter(tmp_path, body))
    assert certificate.verdict == "incomplete"
    assert told in " ".join(certificate.warnings)


def test_cancelling_writes_nothing(tmp_path):
    """Stopping while PhysX runs ends the process and leaves the folder as it was."""
    write_room_world(tmp_path / "room")
    before = hashes(tmp_path / "room")

    class Impatient(Progress):
        def __init__(self) -> None:
            self.seen = ""

        def keep_going(self) -> bool:
            return self.seen != "physics"

        def update(self, stage: str, done: int, total: int, note: str = "") -> None:
            self.seen = stage

    with pytest.raises(Cancelled):
        certify_world(
            tmp_path / "room",
            python=fake_interpreter(tmp_path, "import time; time.sleep(600)"),
            progress=Impatient(),
        )
    assert hashes(tmp_path / "room") == before


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("world_scene.usda", None, "world_scene.usda"),
        ("memory/mesh.npz", None, "mesh"),
        ("memory/mesh.npz", b"PK\x03\x04", "mesh"),
        ("nav/map.yaml", None, "map.yaml"),
        ("nav/map.yaml", b"image: ../../photo.png\nresolution: 0.05\norigin: [0, 0, 0]\nnegate: 0\n", "map"),
        ("nav/map.yaml", b"- 1\n- 2\n", "map"),
        ("nav/episodes.jsonl", b'{"start": [0, 0]}\n', "line 1"),
        ("nav/episodes.jsonl", b'{"start": [0, NaN], "goal": [0, 0]}\n', "line 1"),
        ("nav/free_space.json", b"{", "free_space.json"),
    ],
)
def test_broken_folders_are_refused_in_one_line(tmp_path, name, content, told):
    """What is missing or damaged is named; nothing is written."""
    folder = tmp_path / "room"
    write_room_world(folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        certify_world(folder)
    assert "\n" not in str(caught.value).strip().partition("\nFile:")[0]
    assert not (folder / "certificate.json").exists()


def test_names_from_outside_are_escaped(tmp_path):
    """A photo's name cannot put markup into the page."""
    line = Line(id="a.b", title="<b>t</b>", measured=1.0, limit=2.0, detail="<script>alert(1)</script>")
    page = render_page(
        Certificate(lines=(line,), facts={"name": "<img src=x onerror=alert(1)>"}, warnings=("<i>w</i>",)), {}
    )
    assert "<script" not in page and "<img" not in page and "<i>w" not in page


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (Line(id="a", title="", measured=1.0, limit=1.0), "passed"),
        (Line(id="a", title="", measured=1.1, limit=1.0), "failed"),
        (Line(id="a", title="", measured=0.9, limit=1.0, comparison=">="), "failed"),
        (Line(id="a", title="", measured=None, limit=1.0), "not measured"),
        (Line(id="a", title="", measured=None), "info"),
        (Line(id="a", title="", measured=float("inf"), limit=1.0), "failed"),
    ],
)
def test_line_status(line, status):
    """A line passes on its limit, fails beyond, and is only information without one."""
    assert line.status == status


def test_verdict_needs_every_line():
    """One failed line fails the world; one unmeasured line leaves it incomplete."""
    good = Line(id="a", title="", measured=0.0, limit=1.0)
    bad, unknown = replace(good, id="b", measured=2.0), replace(good, id="c", measured=None)
    assert Certificate(lines=(good,), facts={}).verdict == "passed"
    assert Certificate(lines=(good, unknown), facts={}).verdict == "incomplete"
    assert Certificate(lines=(good, unknown, bad), facts={}).verdict == "failed"
    assert Certificate(lines=(good, unknown, bad), facts={}).worst(1) == (bad,)


def test_reads_what_was_written(tmp_path):
    """Map, episodes and robot come back as the room has them."""
    room = write_room_world(tmp_path / "room")
    world = read_world(tmp_path / "room")
    inside = np.array([[0.0, 0.0], [4.9, 2.9], [2.9, -1.4], [-3.0, 0.0]])
    np.testing.assert_array_equal(world.grid.free_at(inside), room.free_at(inside))
    assert len(world.episodes) == 4 and world.robot_radius_m == 0.25 and not world.outdoors
    assert read_episodes(tmp_path / "none.jsonl") == ()

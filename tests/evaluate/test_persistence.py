"""The memory ablation: memory holds every limit, forgetting does not, and a broken memory is found out."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.cli.main import main
from lyra.worldgen.core.chunks import MemoryChunkStore
from lyra.worldgen.core.config import GenerationConfig
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.evaluate import likeness, run
from lyra.worldgen.evaluate.persistence import (
    Persistence,
    PersistenceConfig,
    Walk,
    WalkPlan,
    measure_persistence,
    measure_walk,
    walk_plans,
)
from lyra.worldgen.evaluate.persistence_judge import figures, judged
from lyra.worldgen.generation import pipeline
from lyra.worldgen.generation.cache import SpatialCache
from lyra.worldgen.generation.painter_fake import PainterFake
from rooms import analytic_room

pytestmark = pytest.mark.slow

CFG = PersistenceConfig(size_px=64, loops=2, distance_m=2.0)


class SpeckledPainter(PainterFake):
    """Paints noise around a colour that the seed decides, as a generative painter would: never twice the same."""

    def paint(self, hint, *, seed):
        rng = np.random.default_rng(seed)
        out = hint.rgb_u8.copy()
        noise = rng.integers(20, 200, 3) + rng.integers(-20, 20, (*hint.known.shape, 3))
        out[~hint.known] = noise[~hint.known].astype(np.uint8)
        return out


@pytest.fixture(scope="module")
def room_result() -> tuple[Persistence, list[int]]:
    """The whole measurement in a known room, and the steps of progress."""
    room, steps = analytic_room(width_px=64, height_px=48), []
    result = measure_persistence(
        "room", room.photo(), room.geometry(), SpeckledPainter(), GenerationConfig(), CFG,
        on_step=lambda count, note: steps.append(count),
    )  # fmt: skip
    return result, steps


def walked(path: str, *, remembers: bool = True) -> Walk:
    """One walk in the same room."""
    room = analytic_room(width_px=64, height_px=48)
    plan = WalkPlan(path=path, remembers=remembers, frames=1)
    generation = GenerationConfig(view_long_side_px=CFG.size_px)
    return measure_walk(
        plan, room.photo(), room.geometry(), SpeckledPainter(), generation, seed=0, prepared=MemoryChunkStore()
    )


def exchanged(result: Persistence, walk: Walk) -> Persistence:
    """The result with another walk in place of the one along the same path."""
    walks = [walk if (w.path, w.remembers) == (walk.path, walk.remembers) else w for w in result.walks]
    return dataclasses.replace(result, walks=tuple(walks))


def statuses(result: Persistence) -> dict[str, str]:
    lines = judged({result.name: figures(result)}, loops=CFG.loops, distance_m=CFG.distance_m)
    return {line.id: line.status for line in lines}


def test_memory_holds_every_limit(room_result):
    """In a known room with a painter that never paints the same twice, every line passes."""
    result, _ = room_result
    assert set(statuses(result).values()) == {"passed"}
    assert sorted(statuses(result)) == [
        "depth.changed", "drift.colour", "gain.out-and-back", "gain.spin", "revisit.out-and-back", "revisit.spin",
    ]  # fmt: skip


def test_without_memory_the_limits_do_not_hold(room_result):
    """The same judgement on the walks without memory fails where memory matters, and only there."""
    result, _ = room_result
    forgetful = [dataclasses.replace(w, remembers=True) for w in result.walks if not w.remembers]
    without = dataclasses.replace(
        result, walks=(*forgetful, *(dataclasses.replace(w, remembers=False) for w in forgetful))
    )
    found = figures(without)
    assert found["spin"]["gain_db"] == 0
    assert found["spin"]["with"]["psnr_db"] < 25 and found["out-and-back"]["with"]["psnr_db"] < 25
    assert max(found["drift"]["with"][0]["absolute_levels"]) > 5
    assert statuses(without)["depth.changed"] == "passed"


def test_a_memory_that_forgets_is_found_out(room_result, monkeypatch):
    """A memory that loses all views but the newest and the photo fails."""

    class Leaky(SpatialCache):
        def retrieve(self, camera, T_world_cam, *, count):
            return [i for i in super().retrieve(camera, T_world_cam, count=count) if i in (0, self.next_id - 1)]

    monkeypatch.setattr(pipeline, "SpatialCache", Leaky)
    found = statuses(exchanged(room_result[0], walked("spin:turns=3")))
    assert found["revisit.spin"] == "failed" and found["drift.colour"] == "failed"


def test_a_memory_whose_colours_fade_is_found_out(room_result, monkeypatch):
    """Colours that lose two grey levels a turn fail on drift, though pictures stay alike."""
    recall, frames = SpatialCache.recall, [0]

    def fading(self, points_world, view_ids, **options):
        rgb, known = recall(self, points_world, view_ids, **options)
        frames[0] += len(self) > 1  # not while the photo alone is asked
        return rgb - 2.0 * (frames[0] // 80), known

    monkeypatch.setattr(SpatialCache, "recall", fading)
    found = statuses(exchanged(room_result[0], walked("spin:turns=3")))
    assert found["drift.colour"] == "failed" and found["revisit.spin"] == "passed"


def test_revisits_are_the_same_pose_with_a_way_between(room_result):
    """Out and back meets each pose twice but the farthest; each loop meets every pose of the first."""
    result, steps = room_result
    out = result.walk("out-and-back", remembers=True)
    assert [(r.first, r.again) for r in out.revisits] == [(160 - n, n) for n in range(81, 160)]
    np.testing.assert_allclose([r.between_m for r in out.revisits], np.arange(1, 80) * 2 * 2.0 / 80, atol=1e-9)
    assert out.reach_m == pytest.approx(2.0)
    spin = result.walk("spin", remembers=True)
    assert [(r.first, r.again) for r in spin.revisits] == [((n - 1) % 80 + 1, n) for n in range(81, 241)]
    assert {r.loop for r in spin.revisits} == {1, 2}
    assert sum(steps) == sum(plan.cost for plan in walk_plans(CFG))


def test_a_camera_that_cannot_move_revisits_nothing():
    """Where a wall holds the camera back the frames in front of it do not count as coming back."""
    out = walked("out-and-back:distance=10")
    assert out.reach_m < 5 and all(r.between_m > 0.01 for r in out.revisits)
    assert 20 < len(out.revisits) < 45


def test_photo_is_found_at_home(room_result):
    """The last frame of the turn shows the photo, with memory only."""
    result, _ = room_result
    home = {w.remembers: w.home_psnr_db for w in result.walks if w.path.startswith("spin")}
    assert home[True] > 30 and home[False] is not None and home[False] < 25


@pytest.mark.parametrize("field", ["size_px", "loops", "distance_m", "seed"])
def test_settings_out_of_range_are_refused(field):
    """The message names the setting and what is allowed."""
    with pytest.raises(InputError, match=rf"{field} is -1(\.0)?; expected"):
        PersistenceConfig(**{field: -1})


def test_report_is_written_and_does_not_change(room_result, tmp_path):
    """Three files; the page needs no other; the same results give the same bytes but for the timings."""
    result, _ = room_result
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        run.write_persistence(tmp_path / name, [result], CFG, settings={}, timings_s={"room": seconds})
    values = [json.loads((tmp_path / name / "persistence.json").read_text()) for name in "ab"]
    assert [v.pop("timings_s") for v in values] == [{"room": 1.0}, {"room": 2.0}] and values[0] == values[1]
    assert values[0]["passed"] is True and values[0]["config"]["seed"] == 0 and "numpy" in values[0]["machine"]
    for kind in ("png", "html"):
        first, second = ((tmp_path / name / f"persistence.{kind}").read_bytes() for name in "ab")
        assert first == second and len(first) > 10_000
    page = (tmp_path / "a" / "persistence.html").read_text()
    assert "The memory holds" in page and page.count("<figure") == 5
    assert re.findall(r'(?:src|href)="(?!data:)', page) == [] and "<script" not in page
    from PIL import Image

    with Image.open(tmp_path / "a" / "persistence.png") as plots:
        assert plots.size == (1100, 750) and len(np.unique(np.asarray(plots))) > 10


def test_command_refuses_before_it_measures(tmp_path, capsys):
    """No kind of evaluation, no photo, a folder that is no world: exit code 2 and one line."""
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "x.jpg"])
    assert stop.value.code == 2
    (tmp_path / "empty").mkdir()
    for source in ("none.jpg", "empty"):
        assert main(["evaluate", str(tmp_path / source), "--persistence", "--out", str(tmp_path / "out")]) == 2
    assert main(["evaluate", "x", "--persistence", "--loops", "0", "--out", str(tmp_path / "out")]) == 2
    assert "loops is 0; expected 1 to 100" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_command_on_a_world_and_its_photo(photos: Path, tmp_path, capsys):
    """The real painter on a CC0 photo, small: it passes, the report is written, its world gives the same numbers."""
    world = tmp_path / "lobby-world"
    assert main(["generate", str(photos / "lobby.png"), "--out", str(world), "--until", "understand"]) == 0
    capsys.readouterr()
    out = tmp_path / "report"
    argv = ["evaluate", str(world), str(photos / "lobby.png"), "--persistence", "--out", str(out), "--json"]
    assert main([*argv, "--size", "64", "--loops", "1", "--distance", "2"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == json.loads((out / "persistence.json").read_text())
    assert values["photos"]["lobby"] == values["photos"]["lobby-world"]
    assert values["photos"]["lobby"]["painter"] == "patch" and values["passed"] is True
    assert sorted(p.name for p in out.iterdir()) == ["persistence.html", "persistence.json", "persistence.png"]


def test_psnr_and_colour_change(rng):
    """Both agree with their definitions; equal pictures and empty masks have their own answers."""
    a = rng.integers(0, 200, (20, 30, 3), dtype=np.uint8)
    every = np.ones((20, 30), bool)
    assert likeness.psnr_db(a, a, every) == likeness.BEST_PSNR_DB
    assert likeness.psnr_db(a, a, ~every) is None and likeness.ssim(a, a, ~every) is None
    np.testing.assert_allclose(likeness.psnr_db(a, a + np.uint8(5), every), 10 * np.log10(255**2 / 25))
    b = a.copy()
    b[..., 1] += 3
    b[:10, :, 2] += 4
    b[10:, :, 2] -= np.minimum(b[10:, :, 2], 4)
    signed, absolute = likeness.colour_change(a, b, np.arange(20)[:, None] < np.full((1, 30), 10))
    np.testing.assert_allclose(signed, [0, 3, 4])
    np.testing.assert_allclose(absolute, [0, 3, 4])


def test_flow_sees_a_shift(rng):
    """A picture moved by three pixels is seen to have moved by three pixels."""
    import cv2

    base = cv2.GaussianBlur(rng.integers(0, 255, (80, 120, 3), dtype=np.uint8), (0, 0), 3)
    base = cv2.normalize(base, base, 0, 255, cv2.NORM_MINMAX)
    flow = likeness.flow_px(base, np.roll(base, 3, 1))
    assert np.median(flow[15:-15, 15:-15]) == pytest.approx(3.0, abs=0.3)
    assert likeness.flow_px(base, base).max() < 0.01

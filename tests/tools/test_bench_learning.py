"""The benchmark of learning: what it reads from logs, which worlds are held out, what it calls reached."""

from __future__ import annotations

import json

import pytest

from known_scenes import known_scene

LOG = """
                       Learning iteration 0/120

                            Total steps: 4096
                       Steps per second: 939
                        Mean value loss: 1.0214
                            Mean reward: -2.17
           Episode_Termination/arrived: 0.0000
           Episode_Termination/touched: 0.0247
                       Learning iteration 1/120

                            Total steps: 8192
                            Mean reward: 5.30
           Episode_Termination/arrived: 0.9062
"""


@pytest.fixture
def bench(repository, monkeypatch):
    """The two scripts."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import bench_learning
    import learning_worlds

    return bench_learning, learning_worlds


def test_curve_has_a_row_an_iteration(bench):
    """Figures that an iteration does not print are left out, nothing moves to another iteration."""
    assert bench[0].curve_of("start\n" + LOG) == [
        {"steps": 4096.0, "reward": -2.17, "arrived": 0.0, "touched": 0.0247},
        {"steps": 8192.0, "reward": 5.3, "arrived": 0.9062},
    ]


def test_every_fourth_world_is_held_out(bench, tmp_path):
    """By the order of seeds alone; shorter lists begin longer ones, no unseen world is in any of them."""
    made = [seed for seed in range(1000, 1040) if seed % 5]
    bench[1].write_lists(tmp_path, made, [1000])
    lists = {p.stem: json.loads(p.read_text())["worlds"] for p in tmp_path.glob("*.json") if "learning" not in p.stem}
    unseen = lists.pop("unseen")
    assert unseen == [f"worlds/{s}" for s in made[3::4]] and len(unseen) == 8
    assert sorted(len(worlds) for worlds in lists.values()) == [1, 2, 4, 8, 24]
    for worlds in lists.values():
        assert worlds == lists["train-24"][: len(worlds)] and not set(worlds) & set(unseen)
    summary = json.loads((tmp_path / "learning_worlds.json").read_text())
    assert summary["refused"] == [1000] and len(summary["train"]) == 24 and len(summary["kinds"]) == 33
    assert summary["kinds"]["1002"] == known_scene(1002).kind


def test_limits_are_those_of_the_parts_that_ran(bench):
    """Each is missed by a hair, then held by one."""

    def result(success: float, spl: float, unseen: float, baseline: float, trained: float) -> dict:
        return {
            "seeds": {"by_seed": {"0": {"success": success, "spl": spl}}},
            "many": {"success": unseen},
            "tasks": {
                "explore": {
                    "baseline": {"success": baseline, "coverage": 0.0},
                    "trained": {"success": 0.0, "coverage": trained},
                    "random": {"success": 0.0, "coverage": 0.3},
                }
            },
        }

    names = ["seed 0", "unseen worlds", "explore: baseline", "explore: learns"]
    assert bench[0].verdicts(result(0.9, 0.8, 0.8, 0.95, 0.31)) == dict.fromkeys(names, True)
    assert not any(bench[0].verdicts(result(0.899, 0.9, 0.79, 0.94, 0.3)).values())
    assert not bench[0].verdicts(result(1.0, 0.79, 1.0, 1.0, 1.0))["seed 0"]
    assert bench[0].verdicts({}) == {}


def test_picture_shows_the_parts_that_were_run(bench, tmp_path):
    """One panel a part; none at all where nothing can be drawn."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    curve = [{"steps": 4096.0, "arrived": 0.1, "reward": 1.0}, {"steps": 8192.0, "arrived": 0.6, "reward": 2.0}]
    result = {"seeds": {"by_seed": {"0": {"curve": curve}}}, "tasks": {"patrol": {"curve": curve}}}
    places = {
        "1": {"success": 0.5, "success_by_world": {"a": 0.5}},
        "24": {"success": 0.8, "success_by_world": {"a": 1}},
    }
    widths = []
    for number, parts in enumerate(({}, result, result | {"places": places})):
        bench[0].plot(tmp_path / f"{number}.png", parts)
        if parts:
            with image.open(tmp_path / f"{number}.png") as picture:
                widths.append(picture.width)
    assert not (tmp_path / "0.png").exists() and widths[1] == pytest.approx(1.5 * widths[0], abs=2)

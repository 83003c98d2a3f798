"""What the experiment with self-augmentation measures."""

from __future__ import annotations

import importlib
import json
from argparse import Namespace

import numpy as np
import pytest

NEW = 8


@pytest.fixture
def bench(repository, monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    return importlib.import_module("bench_selfaug")


def cameras(chunks: int) -> np.ndarray:
    """World to camera of a camera that is back after two chunks."""
    w2c = np.tile(np.eye(4, dtype=np.float32), (1 + chunks * NEW, 1, 1))
    w2c[:, 0, 3] = np.arange(len(w2c)) % (2 * NEW)
    return w2c


def test_drift_is_the_change_since_the_first_chunk(bench, rng):
    """Of the worst channel, against what was painted, and by no frame in between."""
    w2c = cameras(5)
    film = rng.integers(50, 60, (2 * NEW, 4, 4, 3)).astype(np.uint8)[np.arange(len(w2c)) % (2 * NEW)]
    assert bench.drift_after(film, w2c, NEW, 4) == 0
    film[2 * NEW + 1 : 4 * NEW + 1] += 100
    assert bench.drift_after(film, w2c, NEW, 4) == 0
    film[4 * NEW + 1 :] += np.array([3, 9, 6], np.uint8)
    assert bench.drift_after(film, w2c, NEW, 4) == pytest.approx(9)
    # The given first frame was not painted: its pose counts from the first time that it was.
    assert [(x.loop, max(x.absolute_levels)) for x in bench.seen_again(film[:18], w2c, NEW)] == [(2, 100)]


@pytest.mark.parametrize(("drifts", "code"), [((5.0, 5.0, 6.9), 0), ((7.0, 7.0, 5.0), 1), ((5.0, 5.0, 8.1), 1)])
def test_the_verdict_follows_the_criterion(bench, tmp_path, drifts, code, capsys):
    """Lower in every seed, and by 15 % in the median."""
    pytest.importorskip("matplotlib")
    args = Namespace(out=tmp_path, seeds=[0, 1, 2], steps=3, noise_factor=None, train_seed=1, held_seed=2)
    chunk = dict.fromkeys(bench.FIGURES, 1.0)
    for seed, with_it in zip(args.seeds, drifts, strict=True):
        for arm, level in (("with", with_it), ("without", 8.0)):
            film = {
                "drift": dict.fromkeys(map(str, bench.ROUNDS), level), "chunks": [chunk] * bench.LONGEST,
                "repeated": 3.0, "coded": 1.0, "own": 2.0, "kept": 0.5,
            }  # fmt: skip
            path = bench.result_path(args, seed, arm)
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"films": [film, film], "loss": 0.1, "training_cpu_s": 1.0}))
    assert bench.report(args, 1.0) == code
    found = json.loads((tmp_path / "selfaug.json").read_text())
    assert found["less_drift"]["2"] == pytest.approx(1 - drifts[2] / 8, abs=1e-4) and found["passed"] == (code == 0)
    assert (tmp_path / "selfaug.png").stat().st_size > 1000
    assert "less drift after 5 chunks" in capsys.readouterr().out


@pytest.mark.slow
def test_a_tiny_experiment_runs_whole(bench, tmp_path, monkeypatch):
    """Films, both networks, figures: nothing is missing, and a second call has nothing to do."""
    for name in ("accelerate", "diffusers", "embreex", "matplotlib"):
        pytest.importorskip(name)
    monkeypatch.setattr(bench, "TRAIN_FILMS", 2)
    monkeypatch.setattr(bench, "HELD_FILMS", 1)
    tiny = {"network.width": 16, "network.heads": 2, "network.layers": 1, "network.ffn_width": 16, "batch_size": 2}
    monkeypatch.setattr(bench, "SETTINGS", bench.SETTINGS | tiny)
    args = Namespace(out=tmp_path, seeds=[3], steps=2, noise_factor=None, train_seed=1, held_seed=2, core=None, jobs=1)
    bench.make_films(args.out, args.train_seed, args.held_seed)
    for arm in bench.ARMS:
        assert bench.one_run(args, 3, arm) == 0
    assert bench.run_all(args, ["3:with", "3:without"]) == []
    assert bench.report(args, 1.0) in (0, 1)
    film = json.loads(bench.result_path(args, 3, "with").read_text())["films"][0]
    assert set(film["drift"]) == {"2", "4", "6", "8"} and len(film["chunks"]) == bench.LONGEST
    assert film["own"] > 10 * film["coded"] and np.isfinite(film["kept"])

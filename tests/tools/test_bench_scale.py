"""The benchmark of the scale's error bar, on a few rooms that nothing was tuned on."""

from __future__ import annotations

import json
import sys

import pytest


@pytest.mark.slow
def test_error_bars_hold_on_rendered_rooms(repository, monkeypatch, tmp_path, capsys):
    """Over six rooms no kind of evidence is off by twice its doubt on average, and evidence beats the guess."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import bench_scale

    figures = tmp_path / "scale.json"
    arguments = ["bench_scale.py", "--scenes", "6", "--first-seed", "77000", "--json", str(figures)]
    monkeypatch.setattr(sys, "argv", arguments)
    bench_scale.main()
    rows = json.loads(figures.read_text())["rows"]
    assert set(rows) == set(bench_scale.KINDS)
    assert "nothing (guessed height)" in capsys.readouterr().out
    guessed = rows["nothing (guessed height)"]
    for name, row in rows.items():
        assert row["scenes"] + row["refused"] == 6
        if row["scenes"] >= 4:
            assert row["mean_error_over_sigma"] < 2.0 and row["within_two_sigma"] >= 0.6, name
    for name in ("floor measured", "door and person", "everything"):
        assert rows[name]["median_sigma"] < 0.6 * guessed["median_sigma"]

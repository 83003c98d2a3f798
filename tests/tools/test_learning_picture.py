"""The picture of the learning page shows every training that its tables have."""

from __future__ import annotations

import pytest


@pytest.fixture
def learning_picture(repository, monkeypatch):
    """The script."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import learning_picture

    return learning_picture


def test_every_row_of_the_tables_is_a_point(learning_picture):
    """Rows that only name a seed go on about the world before; steps, drives and success are those of the table."""
    trained, places = learning_picture.runs_of("learning-point-goal"), learning_picture.runs_of("learning-places")
    assert [(r.worlds, r.seed) for r in trained] == [(1, 0), (1, 1), (1, 2)] * 2 + [(24, 0), (24, 1), (24, 2)]
    assert [r.worlds for r in places] == [1, 2, 4, 8, 24] and {r.steps for r in places} == {208_896}
    assert places[0].success == pytest.approx(74.4) and places[0].error == pytest.approx(3.45, abs=0.01)
    worlds, by_seed = learning_picture.unseen_by_world()
    assert len(worlds) == 8 and by_seed["seed 1"][1] == 25.0


def test_the_picture_is_drawn(learning_picture, tmp_path):
    """A PNG of the size of the page."""
    pytest.importorskip("matplotlib")
    learning_picture.draw(tmp_path / "a.png")
    with pytest.importorskip("PIL.Image").open(tmp_path / "a.png") as image:
        assert image.width == 1080 and image.height > 300

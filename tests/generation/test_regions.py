"""Even regions: where they end, and how their pixels vote."""

from __future__ import annotations

import numpy as np

from lyra.worldgen.generation.label_net import FLOOR, OBJECT, WALL
from lyra.worldgen.generation.regions import even_regions, region_floor, region_means


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A grey wall over a brown floor with a green box on it, and what is what: 0 wall, 1 floor, 2 box."""
    what = np.zeros((60, 80), int)
    what[24:] = 1
    what[30:50, 30:50] = 2
    rgb = np.array([(150, 150, 155), (110, 80, 60), (60, 140, 70)])[what]
    noise = np.random.default_rng(0).normal(0.0, 2.0, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8), what


def test_regions_are_what_looks_alike():
    rgb, what = picture()
    number = even_regions(rgb)
    assert number.max() + 1 == 3
    for region in range(3):
        assert (what[number == region] == np.bincount(what[number == region]).argmax()).mean() > 0.97


def test_regions_are_numbered_in_order_and_repeat():
    rgb, _ = picture()
    number = even_regions(rgb)
    np.testing.assert_array_equal(number, even_regions(rgb))
    first = [int(np.flatnonzero(number.ravel() == k)[0]) for k in range(number.max() + 1)]
    assert first == sorted(first)


def test_means_are_those_of_the_regions():
    number = np.array([[0, 0, 1], [2, 2, 1]])
    np.testing.assert_allclose(region_means(np.arange(6.0).reshape(1, 2, 3), number), [[0.5, 3.5, 3.5]])


def test_a_box_that_the_network_half_takes_for_floor_is_none():
    rgb, what = picture()
    net = np.full((5, *what.shape), 0.02)
    net[FLOOR] = np.array([0.02, 0.8, 0.5])[what]
    net[OBJECT] = np.array([0.02, 0.1, 0.4])[what]
    net[WALL] = 1.0 - net[FLOOR] - net[OBJECT]
    cut = (what > 0).astype(float)
    elevation = np.broadcast_to(np.linspace(0.3, -0.45, 60)[:, None], what.shape)
    floor = region_floor(rgb, even_regions(rgb), net, cut, elevation)
    assert floor[what == 1].mean() > 0.8
    assert floor[what == 2].mean() < 0.2
    assert floor[what == 0].mean() < 0.05

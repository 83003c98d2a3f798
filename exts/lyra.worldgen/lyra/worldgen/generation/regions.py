"""Even regions of a photo: one answer for all pixels that look alike and hang together.

The network sees a small picture and answers softly; the colour model of the floor cuts where it is cheap. A side of a
box or a piece of floor is one thing: its pixels vote, and what has the colour of the surest floor is floor, too.

The weights of the vote are those of a logistic regression on regions of rendered rooms and of crops of panoramas.
"""

from __future__ import annotations

import numpy as np

from ..core.optional import require
from .label_net import FLOOR, OBJECT

_SCALE = 150.0
_LEAST_PX = 30
_PASSES = 3
"""The surest floor says what colour the floor has, and the colour says what is floor."""
_NET, _CUT, _TINT, _LIGHT, _OBJECT, _BIAS = 1.08, 0.36, -1.17, -0.32, -0.58, 1.69
"""Weights of the network's log odds, the colour cut, the differences in colour and lightness, the network's objects."""
_SEED_BELOW_RAD = 0.03
_CHANNEL_WEIGHT = np.array([0.6, 1.5, 1.5], np.float32)
"""Light varies over a surface more than its colour does."""


def even_regions(rgb_u8: np.ndarray) -> np.ndarray:
    """[H, W] int64 region number of every pixel of a small picture [H, W, 3]."""
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    require("numba", extra="gen")
    from .regions_numba import merged

    h, w = rgb_u8.shape[:2]
    lab = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float32) * _CHANNEL_WEIGHT
    lab = cv2.bilateralFilter(lab, 5, 12, 3)
    index = np.arange(h * w).reshape(h, w)
    first, second, weight = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(None, h - down), slice(max(0, -right), w - max(0, right))
        there = slice(down, None), slice(max(0, right), w + min(0, right))
        first.append(index[here].ravel())
        second.append(index[there].ravel())
        weight.append(np.linalg.norm(lab[here] - lab[there], axis=-1).ravel())
    weights = np.concatenate(weight).astype(np.float64)
    order = np.argsort(weights, kind="stable")
    number = merged(np.concatenate(first), np.concatenate(second), weights, order, h * w, _SCALE, _LEAST_PX)
    return number.reshape(h, w)


def region_means(layers: np.ndarray, number: np.ndarray) -> np.ndarray:
    """[K, R] mean of maps [K, H, W] over each region."""
    count = int(number.max()) + 1
    size = np.bincount(number.ravel(), minlength=count)
    return np.stack([np.bincount(number.ravel(), weights=layer.ravel(), minlength=count) / size for layer in layers])


def region_floor(
    rgb_u8: np.ndarray, number: np.ndarray, net: np.ndarray, cut: np.ndarray, elevation_rad: np.ndarray
) -> np.ndarray:
    """[H, W] float32 probability of floor, the same all over a region; 0 for what lies mostly above the horizon.

    Args:
        rgb_u8: [H, W, 3] the small picture.
        number: [H, W] its regions.
        net: [5, H, W] label probabilities of the network.
        cut: [H, W] floor probability of the colour model.
        elevation_rad: [H, W] of the pixels above the horizon.
    """
    cv2 = require("cv2", extra="gen", package="opencv-python-headless")
    low = elevation_rad < -_SEED_BELOW_RAD
    lab = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2LAB).astype(np.float64)
    layers = np.concatenate([net[[FLOOR, OBJECT]], cut[None], (elevation_rad < 0.0)[None], np.moveaxis(lab, -1, 0)])
    floor, thing, cut_share, below, *colour = region_means(layers, number)
    odds = np.clip(floor, 0.02, 0.98)
    odds = np.log(odds / (1.0 - odds))
    seed = net[FLOOR] ** 2 * (0.3 + 0.7 * cut) * low
    answer = np.zeros(len(floor))
    for _ in range(_PASSES):
        weight = seed / max(float(seed.sum()), 1e-9)
        mean = (lab * weight[..., None]).sum((0, 1))
        spread = np.sqrt(((lab - mean) ** 2 * weight[..., None]).sum((0, 1)))
        tint = np.hypot(colour[1] - mean[1], colour[2] - mean[2]) / (3.0 + np.hypot(spread[1], spread[2]))
        light = np.abs(colour[0] - mean[0]) / (8.0 + spread[0])
        vote = _NET * odds + _CUT * cut_share + _TINT * np.minimum(tint, 5.0) + _LIGHT * np.minimum(light, 4.0)
        answer = np.where(below > 0.6, 1.0 / (1.0 + np.exp(-(vote + _OBJECT * thing + _BIAS))), 0.0)
        seed = answer[number] ** 2 * low
    return answer[number].astype(np.float32)

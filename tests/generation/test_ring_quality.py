"""What a finished ring looks like, in numbers: as rough as the photo, unlike a smear, without steps or wallpaper."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lyra.worldgen.generation import patch_diffusion
from lyra.worldgen.generation.painter import RingPanorama
from lyra.worldgen.generation.painter_patch import PatchPainter
from lyra.worldgen.generation.patch_atlas import Source
from lyra.worldgen.generation.patch_target import Target
from rooms import analytic_room

pytestmark = pytest.mark.slow

ROOM = analytic_room(width_px=160, height_px=120, boxes=False)


def textured_photo(seed: int = 0):
    """The analytic room with plaster: soft blotches and grain."""
    import cv2

    rng = np.random.default_rng(seed)
    plain = ROOM.photo()
    soft = cv2.GaussianBlur(rng.normal(0, 1, (120, 160)), (0, 0), 1.5)
    plaster = (14 * soft / soft.std() + rng.normal(0, 5, (120, 160)))[..., None]
    return dataclasses.replace(plain, rgb_u8=np.clip(plain.rgb_u8 + plaster, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def ring() -> RingPanorama:
    return PatchPainter(rows=96).prepare(textured_photo(), ROOM.geometry(), seed=1)


def patch_distance(a: np.ndarray, b: np.ndarray, *, size: int = 7) -> float:
    """Mean distance of the quantiles of two sets of patches along random directions, 0..1."""
    directions = np.random.default_rng(0).normal(size=(size * size * 3, 64))
    directions /= np.linalg.norm(directions, axis=0)

    def quantiles(x: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x.astype(float) / 255, (size, size), axis=(0, 1))
        return np.quantile(windows.reshape(-1, size * size * 3) @ directions, np.linspace(0.01, 0.99, 99), axis=0)

    return float(np.abs(quantiles(a) - quantiles(b)).mean())


def gradient(rgb: np.ndarray) -> float:
    grey = rgb.astype(float).mean(-1)
    return float(np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=0)).mean())


def bricks_and_plaster() -> np.ndarray:
    """[120, 160, 3] in -1..1: the left half shows strips of brick between strips of nearly flat plaster."""
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:120, :160]
    joint = (y % 12 < 2) | ((x + (y // 12 % 2) * 15) % 30 < 2)
    brick = (140 + rng.normal(0, 8, (120, 160)) - 60 * joint)[..., None] * [1, 0.7, 0.6]
    plaster = (190 + rng.normal(0, 2, (120, 160)))[..., None] * [1, 1, 0.95]
    both = np.where(((x // 36 % 2 == 0) & (x < 72))[..., None], brick, plaster)
    return (np.clip(both, 0, 255) / 127.5 - 1).astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_keeps_it_from_going_flat(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare search covers a wide gap with the flattest thing it knows; with noise the photo's patches come back."""
    rgb = bricks_and_plaster()
    known = np.zeros(rgb.shape[:2], bool)
    known[:, :80] = True
    target = Target(rgb=np.where(known[..., None], rgb, 0), known=known, hole=~known)
    inner, photo = np.s_[4:116, 84:156], 127.5 * (rgb[:, :80] + 1)

    def painted() -> np.ndarray:
        source = Source(rgb=rgb, usable=known)
        return 127.5 * (patch_diffusion.complete(target, source, seed=seed)[inner] + 1)

    ours = painted()
    monkeypatch.setattr(patch_diffusion, "START_SIGMA", 0.1)
    monkeypatch.setattr(patch_diffusion, "FINER_SIGMA", (0.04,))
    monkeypatch.setattr(patch_diffusion, "STEPS", (6, 4))
    monkeypatch.setattr(patch_diffusion, "EXACT_SOURCE_PX", 0)
    bare = painted()
    assert patch_distance(ours, photo) < 0.8 * patch_distance(bare, photo)
    assert gradient(ours) > max(2 * gradient(bare), 0.45 * gradient(photo))


def test_no_step_where_the_photo_ends(ring: RingPanorama) -> None:
    """Neighbouring columns differ no more across the border of the photo than elsewhere."""
    step = np.abs(np.diff(ring.rgb_u8.astype(float), axis=1)).mean(-1)
    border = ring.from_photo[:, 1:] != ring.from_photo[:, :-1]
    beside = np.zeros_like(border)
    for shift in range(2, 7):
        beside |= np.roll(border, shift, 1) | np.roll(border, -shift, 1)
    assert border.any()
    assert step[border].mean() < 1.6 * step[beside & ~border].mean()


def repetition(ring: RingPanorama, *, window_rad: float = 0.2) -> float:
    """Mean over windows outside the photo of the best correlation with any other window, mirrored ones too."""
    import cv2

    grey = cv2.cvtColor(ring.rgb_u8, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey -= cv2.GaussianBlur(grey, (0, 0), len(grey) / 12)
    columns = grey.shape[1]
    width = round(window_rad / (2 * np.pi) * columns)
    around = np.concatenate([grey, grey], 1)
    windows = np.stack([around[:, c : c + width] for c in range(columns)])
    both = [w.reshape(columns, -1) for w in (windows, windows[:, :, ::-1])]
    both = [(w - w.mean(1, keepdims=True)) / w.std(1, keepdims=True) / np.sqrt(w.shape[1]) for w in both]
    painted = np.flatnonzero(ring.from_photo.mean(0) < 0.1)
    gap = np.abs((painted[:, None] - np.arange(columns)[None] + columns // 2) % columns - columns // 2)
    alike = np.maximum(both[0][painted] @ both[0].T, both[0][painted] @ both[1].T)
    return float(np.where(gap > width, alike, -1).max(1).mean())


def test_less_wallpaper_than_a_mirror(ring: RingPanorama) -> None:
    """Painted windows are found again elsewhere in the ring less exactly than in a fold."""
    fold = PatchPainter(rows=96, mode="mirror").prepare(textured_photo(), ROOM.geometry(), seed=1)
    assert repetition(ring) < repetition(fold) - 0.1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_landmark_stays_single(seed: int) -> None:
    """One red post in the photo is not multiplied around the ring."""
    photo = textured_photo()
    rgb = photo.rgb_u8.copy()
    rgb[20:90, 76:84] = [210, 20, 20]
    geometry = ROOM.geometry()
    outdoors = dataclasses.replace(geometry, layout=dataclasses.replace(geometry.layout, ceiling_m=None))
    post = PatchPainter(rows=96).prepare(dataclasses.replace(photo, rgb_u8=rgb), outdoors, seed=seed)
    red = (post.rgb_u8[..., 0].astype(int) - post.rgb_u8[..., 1] > 120).mean(0)
    inside = post.from_photo.mean(0) > 0.5
    assert red[inside].sum() > 4
    assert red[~inside].sum() <= 1.2 * red[inside].sum()

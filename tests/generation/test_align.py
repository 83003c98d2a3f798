"""Alignment of new depth to the memory and to the floor: the scale holds where camera centres say nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.core.frames import camera_pose, invert_rigid
from lyra.worldgen.core.mesh import Label
from lyra.worldgen.core.views import SPACE_DEPTH, SPACE_DISPARITY, SPACE_METRIC, SPACE_SCALE, DepthResult
from lyra.worldgen.generation.align import FloorView, align_depth, blend_into_hole
from lyra.worldgen.generation.warp import forward_warp, reference_K
from rooms import AnalyticRoom, analytic_room

SPACES = (SPACE_METRIC, SPACE_SCALE, SPACE_DEPTH, SPACE_DISPARITY)
OUTLIERS = 0.30
OVERLAP = 0.15
KEPT = 8
"""Views that the memory of the chain still warps: no frame of it ever sees the first one again."""


@pytest.fixture(scope="module")
def room() -> AnalyticRoom:
    return analytic_room(width_px=96, height_px=72)


@pytest.fixture(scope="module")
def exact_z_m() -> np.ndarray:
    return analytic_room().render().depth_z_m.astype(float)


def answer(z_m: np.ndarray, space: str, rng: np.random.Generator, *, noise: float = 0.03) -> DepthResult:
    """What a model in that space might say about a view: noise of its own and an unknown factor and shift."""
    z = z_m * np.exp(noise * rng.standard_normal(z_m.shape))
    factor = float(np.exp(rng.uniform(-1.0, 1.0)))
    shift = float(rng.uniform(-0.3, 0.3)) * factor
    if space == SPACE_DISPARITY:
        values = factor / z + 0.2 * shift
    elif space == SPACE_DEPTH:
        values = factor * z + shift
    else:
        values = factor * z
    values = values.astype(np.float32)
    valid = values > 0
    if space == SPACE_METRIC:
        return DepthResult(valid=valid, space=space, depth_z_m=values)
    return DepthResult(valid=valid, space=space, rel_depth=values)


def spoiled(z_m: np.ndarray, rng: np.random.Generator, *, noise: float = 0.01) -> np.ndarray:
    """Known depth as a memory has it: noisy, and for 30 % of the pixels that of something else, mostly nearer."""
    z = z_m * np.exp(noise * rng.standard_normal(z_m.shape))
    wrong = rng.random(z.shape) < OUTLIERS
    return np.where(wrong, z * np.exp(rng.uniform(-1.5, 0.7, z.shape)), z)


def left_columns(shape: tuple[int, ...], share: float) -> np.ndarray:
    known = np.zeros(shape, bool)
    known[:, : max(1, round(share * shape[1]))] = True
    return known


def pure_rotation(room: AnalyticRoom, count: int) -> list[np.ndarray]:
    eye = room.T_world_cam[:3, 3]
    return [camera_pose(eye, heading_rad=np.radians(9.0 * k), pitch_rad=np.radians(-6.0)) for k in range(count)]


def translation(room: AnalyticRoom, count: int) -> list[np.ndarray]:
    return [
        camera_pose(np.array([-1.5 + 3.0 * k / count, 0.2 * np.sin(k), 1.5]), pitch_rad=np.radians(-6.0))
        for k in range(count)
    ]


def baseline_scale(Ts_world_cam: list[np.ndarray], rng: np.random.Generator, sigma_m: float = 0.01) -> float:
    """Scale of predicted to requested camera centres (Umeyama), the predicted ones being off by a centimetre."""
    want = np.array([T[:3, 3] for T in Ts_world_cam])
    got = want + sigma_m * rng.standard_normal(want.shape)
    a, b = got - got.mean(0), want - want.mean(0)
    return float(np.linalg.svd(a.T @ b)[1].sum() / max((a * a).sum(), 1e-12))


@pytest.mark.parametrize("path", [pure_rotation, translation])
@pytest.mark.parametrize("space", SPACES)
def test_scale_holds_with_noise_outliers_and_little_overlap(room, path, space):
    """Each frame of a turn and of a walk finds its metres within 1 % from 15 % of its pixels, 30 % of them wrong."""
    rng = np.random.default_rng(7)
    errors = []
    for T in path(room, 12):
        z = room.render(T_world_cam=T).depth_z_m.astype(float)
        known = left_columns(z.shape, OVERLAP)
        aligned = align_depth(answer(z, space, rng), reference_z_m=spoiled(z, rng), weight=known.astype(float))
        assert aligned.accepted, aligned.reason
        assert aligned.inlier_share > 0.5 and aligned.residual < 0.05
        errors.append(np.median(np.log(aligned.depth_z_m[known] / z[known])))
    assert np.abs(errors).max() < 0.01


def test_camera_centres_alone_lose_the_scale_of_a_turn(room):
    """What the alignment is there for: centres that coincide say nothing, a centimetre of error says anything."""
    rng = np.random.default_rng(7)
    assert abs(baseline_scale(translation(room, 12), rng) - 1.0) < 0.02
    assert abs(baseline_scale(pure_rotation(room, 12), rng) - 1.0) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "with_floor", "error"),
    [
        (pure_rotation, True, 0.02),
        pytest.param(pure_rotation, False, 0.005, marks=pytest.mark.slow),
        pytest.param(translation, True, 0.02, marks=pytest.mark.slow),
        pytest.param(translation, False, 0.005, marks=pytest.mark.slow),
    ],
)
def test_forty_frames_in_a_chain_drift_less_than_two_percent(path, with_floor, error):
    """Warp the memory, align, blend, remember the hole: after forty frames of smooth error the scale has not crept.

    Without a floor nothing but the frames before holds the scale: their errors add up like a random walk, so a turn
    that sees no floor needs a better model for the same drift.
    """
    room = analytic_room()
    rng = np.random.default_rng(11)
    poses = path(room, 41)
    K = reference_K(room.camera)
    first = room.render(T_world_cam=poses[0])
    pictures, depths, ratios = [first.rgb_u8.astype(float)], [first.depth_z_m], []
    for k, T in enumerate(poses[1:], start=1):
        _, known, remembered = forward_warp(
            np.stack(pictures[-KEPT:]),
            np.stack(depths[-KEPT:]),
            np.stack([invert_rigid(pose) for pose in poses[max(0, k - KEPT) : k]]),
            np.repeat(K[None], min(k, KEPT), 0),
            invert_rigid(T),
            K,
        )
        view = room.render(T_world_cam=T)
        z = view.depth_z_m.astype(float)
        wrong = np.where(rng.random(z.shape) < OUTLIERS, np.exp(rng.uniform(-1.5, 0.7, z.shape)), 1.0)
        aligned = align_depth(
            answer(z * smooth_error(z.shape, error, rng), SPACE_SCALE, rng, noise=0.005),
            reference_z_m=np.where(known, remembered * wrong, 0.0),
            weight=known.astype(float),
            floor=FloorView(mask=view.labels == Label.FLOOR, camera=room.camera, T_world_cam=T) if with_floor else None,
        )
        assert aligned.accepted, aligned.reason
        depth = blend_into_hole(aligned.depth_z_m, remembered, known)
        ratios.append(float(np.median(np.log(aligned.depth_z_m / z))))
        pictures.append(view.rgb_u8.astype(float))
        depths.append(depth)
    assert len(ratios) == 40
    # One frame's own error is no drift: that is what remains in the mean of a few.
    assert np.abs(np.convolve(ratios, np.full(KEPT, 1.0 / KEPT), "valid")).max() < 0.02


def smooth_error(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The error of a network: factors that vary in patches about a sixth of the picture wide."""
    import cv2

    coarse = rng.standard_normal((5, 7))
    return np.exp(sigma * cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("space", SPACES)
def test_the_floor_alone_gives_the_metres(room, space):
    """With no memory at all, the floor of a camera of known height says how large everything is."""
    view = room.render()
    floor = FloorView(mask=view.labels == Label.FLOOR, camera=room.camera, T_world_cam=room.T_world_cam)
    aligned = align_depth(answer(view.depth_z_m, space, np.random.default_rng(3), noise=0.01), floor=floor)
    assert aligned.accepted, aligned.reason
    np.testing.assert_allclose(np.median(aligned.depth_z_m / view.depth_z_m), 1.0, atol=0.01)


def test_the_same_seed_gives_the_same_bytes(room):
    """The random draws are the caller's."""
    z = room.render().depth_z_m.astype(float)
    said, known = answer(z, SPACE_DISPARITY, np.random.default_rng(1)), spoiled(z, np.random.default_rng(2))
    one, two = (align_depth(said, reference_z_m=known, seed=4) for _ in range(2))
    assert one.depth_z_m.tobytes() == two.depth_z_m.tobytes() and one.factor == two.factor


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("few", "known pixels have new depth; at least"),
        ("flat", "that tells no shift"),
        ("unrelated", "% of the known pixels agree on one fit"),
        ("constant", "agree on one fit|the fit is no depth"),
    ],
)
def test_too_little_evidence_is_refused_with_a_reason(room, case, reason):
    """No depth rather than a guess."""
    rng = np.random.default_rng(5)
    z = room.render().depth_z_m.astype(float)
    said, known, weight = answer(z, SPACE_DISPARITY, rng), z.copy(), np.ones(z.shape)
    if case == "few":
        weight = np.zeros(z.shape)
        weight[:4, :4] = 1.0
    elif case == "flat":
        known[:] = 3.0
    elif case == "unrelated":
        known = np.exp(rng.uniform(-2.0, 2.0, z.shape))
    else:
        said = DepthResult(valid=np.ones(z.shape, bool), space=SPACE_DISPARITY, rel_depth=np.ones(z.shape, np.float32))
    aligned = align_depth(said, reference_z_m=known, weight=weight)
    assert not aligned.accepted and aligned.depth_z_m is None and not aligned.valid.any()
    assert re.search(reason, aligned.reason), aligned.reason


@given(factor=st.floats(0.05, 20.0), shift=st.floats(-0.5, 3.0), space=st.sampled_from(SPACES))
def test_exact_answers_come_back_exactly(exact_z_m, factor, shift, space):
    """Whatever the model's factor and shift, exact maps give exact metres."""
    z = exact_z_m
    base = 1.0 / z if space == SPACE_DISPARITY else z
    # A shift that leaves every value positive, as a model's own map is.
    values = factor * (base + (max(shift, -0.9 * base.min()) if space in (SPACE_DEPTH, SPACE_DISPARITY) else 0.0))
    maps = {"depth_z_m": values} if space == SPACE_METRIC else {"rel_depth": values}
    aligned = align_depth(DepthResult(valid=np.ones(z.shape, bool), space=space, **maps), reference_z_m=z)
    assert aligned.accepted, aligned.reason
    np.testing.assert_allclose(aligned.depth_z_m, z, rtol=1e-4)


def hole_of(shape: tuple[int, int]) -> np.ndarray:
    known = np.ones(shape, bool)
    known[10:50, 30:80] = False
    known[:, -12:] = False
    return known


def test_blended_depth_keeps_known_pixels_and_has_no_step(room):
    """Known depth stays bit for bit; a smooth misfit of the new map leaves no seam at the border."""
    z = room.render().depth_z_m
    known = hole_of(z.shape)
    v, u = np.mgrid[: z.shape[0], : z.shape[1]]
    said = z * np.exp(0.08 + 0.06 * np.sin(u / 17.0) + 0.05 * v / z.shape[0])
    out = blend_into_hole(said, z, known)
    assert out.dtype == np.float32 and np.isfinite(out).all() and (out > 0).all()
    assert out[known].tobytes() == z[known].tobytes()
    plain = np.where(known, z, said)
    assert seam(plain, z, known) > 0.05
    assert seam(out, z, known) < 0.012
    # Inside the hole the misfit shrinks, too.
    assert np.median(np.abs(np.log(out / z))[~known]) < 0.25 * np.median(np.abs(np.log(said / z))[~known])


def seam(depth: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
    """Median step of log depth across the border of the known pixels, beyond what the truth steps there."""
    steps = []
    for axis in (0, 1):
        border = np.diff(known.astype(int), axis=axis) != 0
        steps.append(np.abs(np.diff(np.log(depth / truth), axis=axis))[border])
    return float(np.median(np.concatenate(steps)))


def test_a_misfit_in_front_does_not_bend_what_is_behind():
    """The membrane gives way at the new map's own depth edges."""
    z = np.full((60, 90), 4.0, np.float32)
    z[20:50, 30:60] = 2.0
    known = np.ones(z.shape, bool)
    known[:, 45:] = False
    said = z.copy()
    said[20:50, 30:60] *= 1.2  # the thing in front is 20 % too far in the new map
    out = blend_into_hole(said, z, known)
    np.testing.assert_allclose(out[:, 70:], 4.0, rtol=0.02)
    np.testing.assert_allclose(out[25:45, 46:58], 2.0, rtol=0.05)


def test_pixels_that_the_model_does_not_know_are_filled(room):
    """Invalid new pixels take their depth from their surroundings."""
    z = room.render().depth_z_m
    known = hole_of(z.shape)
    valid = np.ones(z.shape, bool)
    valid[20:35, 40:60] = False
    out = blend_into_hole(np.where(valid, z, np.nan), z, known, valid=valid)
    assert np.isfinite(out).all() and 0.5 * z.min() < out.min() and out.max() < 1.5 * z.max()


@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 50))
def test_any_pattern_of_known_pixels_is_kept(share, seed):
    """Known pixels never change, and the rest is finite and positive."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(1.0, 6.0, (23, 31)).astype(np.float32)
    known = rng.random(z.shape) < share
    out = blend_into_hole(z * 1.1, z, known)
    assert out[known].tobytes() == z[known].tobytes()
    assert np.isfinite(out).all() and (out > 0).all()

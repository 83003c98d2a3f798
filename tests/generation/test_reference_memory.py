"""Retrieval and forward warp against recorded outputs of the Lyra 2.0 reference."""

from __future__ import annotations

import numpy as np
import pytest

from golden_data import load_golden
from lyra.worldgen.generation import retrieval, warp, warp_torch
from lyra.worldgen.generation.retrieval_index import RetrievalIndex


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("kind", ["clean", "raw"])
def test_forward_warp_matches_reference(views: int, kind: str) -> None:
    """Colour, hole mask and depth of one and of three accumulated views equal the recording."""
    g, _ = load_golden("forward_warp")
    image, seen, depth = warp.forward_warp(
        np.moveaxis(g["image"][:views], 1, -1),
        g["depth_with_holes"][:views, 0],
        g["w2c"][:views],
        g["K"][:views],
        g["target_w2c"],
        g["target_K"],
        reliable_only=kind == "clean",
    )
    want = np.moveaxis(g[f"warp_{kind}_v{views}_image"][0], 0, -1)
    want_seen = g[f"warp_{kind}_v{views}_mask"][0, 0] > 0
    assert np.mean(seen != want_seen) <= 1e-3
    both = seen & want_seen
    error = np.abs(np.clip(image, -1, 1)[both] - want[both])
    # A pixel that only far, nearly weightless splats reach is a quotient of tiny float32 sums.
    assert np.mean(error > 1e-4) <= 1e-3 and error.max() < 1e-3
    np.testing.assert_allclose(depth[both], g[f"warp_{kind}_v{views}_depth"][0][both], atol=1e-3)


@pytest.mark.parametrize("path", ["processor", "device"])
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("kind", ["clean", "raw"])
def test_fast_warp_matches_reference(views: int, kind: str, path: str, monkeypatch) -> None:
    """The compiled and the tensor version give the recording, and the NumPy version's answer for a second target."""
    torch = pytest.importorskip("torch")
    if path == "device":
        monkeypatch.setattr(warp_torch, "_on_processor", warp_torch._on_device)
    g, _ = load_golden("forward_warp")
    arguments = [torch.from_numpy(g[k][:views].copy()) for k in ("image", "depth_with_holes", "w2c", "K")]
    arguments[1] = arguments[1][:, 0]
    image, seen, depth = warp_torch.warp_views(
        *arguments,
        torch.from_numpy(g["target_w2c"])[None],
        torch.from_numpy(g["target_K"])[None],
        reliable_only=kind == "clean",
    )
    want_seen = g[f"warp_{kind}_v{views}_mask"][0, 0] > 0
    assert np.mean(seen[0].numpy() != want_seen) <= 1e-3
    both = seen[0].numpy() & want_seen
    error = np.abs(image[0].clamp(-1, 1).numpy() - g[f"warp_{kind}_v{views}_image"][0])[:, both]
    assert np.mean(error > 1e-4) <= 1e-3 and error.max() < 1e-3
    np.testing.assert_allclose(depth[0].numpy()[both], g[f"warp_{kind}_v{views}_depth"][0][both], atol=1e-3)


def test_one_call_shares_its_sharpest_depth() -> None:
    """Targets of one call share the normalisation of the soft z-buffer; threads and order do not matter."""
    torch = pytest.importorskip("torch")
    g, _ = load_golden("forward_warp")
    views = [torch.from_numpy(g[k].copy()) for k in ("image", "depth_with_holes", "w2c", "K")]
    views[1] = views[1][:, 0]
    targets = torch.stack([torch.from_numpy(g["target_w2c"]), *views[2][:2]])
    Ks = torch.from_numpy(g["target_K"]).expand(3, 3, 3)
    together = warp_torch.warp_views(*views, targets, Ks)
    turned = warp_torch.warp_views(*views, targets.flip(0), Ks)
    for a, b in zip(together, turned, strict=True):
        assert torch.equal(a, b.flip(0))


def test_reliable_mask_matches_reference() -> None:
    """Depth edges are the same pixels."""
    g, _ = load_golden("forward_warp")
    for threshold, key in ((0.05, "reliable_mask_005"), (0.15, "reliable_mask_015")):
        got = warp.reliable_mask(g["depth"][:, 0], threshold=threshold)
        assert (got == (g[key][:, 0] > 0)).all()


COVERAGE = [
    "coverage_full", "coverage_k2", "coverage_multiview", "coverage_threshold_1p0", "coverage_seed_only",
    "coverage_two_frames", "coverage_ties", "nothing_visible",
]  # fmt: skip


@pytest.mark.parametrize("case", COVERAGE)
def test_coverage_retrieval_matches_reference(case: str) -> None:
    """Picks and their order are exactly those of the reference."""
    g, meta = load_golden("retrieval")
    spec = next((c for c in meta["cases"] if c["name"] == case), None)
    if spec is None:
        pytest.skip(f"the recording has no case {case}")
    frames = {fid: i for i, fid in enumerate(meta["frame_ids"])}
    ids = spec["cache_frame_ids"]
    source = {8: 1, 16: 1, 24: 1, 32: 4} if case == "coverage_ties" else {i: frames.get(i, i) for i in ids}
    cache = [
        retrieval.cache_points(
            i,
            np.squeeze(g["depths"][source[i]]),
            g["w2c"][source[i]],
            g["K"][source[i]] if g["K"].ndim == 3 else g["K"],
        )
        for i in ids
    ]
    target = g[f"target_{case}"]
    picks = retrieval.retrieve(
        cache,
        target.reshape(-1, 4, 4),
        g["K"][0] if g["K"].ndim == 3 else g["K"],
        tuple(meta["image_hw"]),
        count=spec["num_latents"],
        depth_tolerance=spec["options"].get("depth_threshold", 0.1),
    )
    assert picks == spec["result_frame_ids"]
    index = RetrievalIndex()
    for points in cache:
        index.add(points)
    assert picks == index.retrieve(
        target.reshape(-1, 4, 4),
        g["K"][0] if g["K"].ndim == 3 else g["K"],
        tuple(meta["image_hw"]),
        count=spec["num_latents"],
        depth_tolerance=spec["options"].get("depth_threshold", 0.1),
    )

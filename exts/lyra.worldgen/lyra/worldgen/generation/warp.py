"""Forward warp of remembered views into a new camera (Lyra 2.0, paper section 3; our notes 2.4).

`forward_warp` is the reference: unproject, project, bilinear splat with a soft z-buffer. It needs no geometry at the
target, so holes and occlusions come out of it. `gather` is its counterpart for a target whose depth is already known
from the proxy world: sharper, because every pixel is looked up and none is spread.

Cameras follow the reference data here: pixel centres at integer coordinates, `w2c` [4, 4], K [3, 3] in pixels.
`PinholeCamera` has centres at +0.5; `reference_K` converts.
"""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape
from ..core.camera import PinholeCamera
from ..core.frames import invert_rigid, transform_points

FAR_DEPTH = 1e4
SAME_DEPTH = 0.02
"""Relative depth difference up to which a remembered pixel shows the point that is asked for."""
RELIABLE_RANGE = 0.05


def reference_K(camera: PinholeCamera) -> np.ndarray:
    """[3, 3] intrinsics for pixel centres at integer coordinates."""
    K = camera.K_px.copy()
    K[:2, 2] -= 0.5
    return K


def clean_depth(depth_z: np.ndarray) -> np.ndarray:
    """NaN becomes far, everything is clamped to [0, 1e4]."""
    return np.clip(np.nan_to_num(depth_z, nan=FAR_DEPTH, posinf=FAR_DEPTH, neginf=0.0), 0.0, FAR_DEPTH)


def reliable_mask(depth_z: np.ndarray, *, threshold: float = RELIABLE_RANGE, window: int = 5) -> np.ndarray:
    """[..., H, W] bool: (max - min) / mean of a window below the threshold, so not on a depth edge.

    The mean counts the zero padding, as the reference does; maximum and minimum do not.
    """
    pad = window // 2
    edge = [(0, 0)] * (depth_z.ndim - 2) + [(pad, pad), (pad, pad)]

    def windows(fill: float) -> np.ndarray:
        padded = np.pad(depth_z.astype(np.float32), edge, constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(-2, -1))

    high = windows(-np.inf).max((-2, -1))
    low = windows(np.inf).min((-2, -1))
    mean = windows(0.0).mean((-2, -1))
    return (high - low) / (mean + 1e-6) < threshold


def unproject_reference(depth_z: np.ndarray, w2c: np.ndarray, K: np.ndarray) -> np.ndarray:
    """World points [H, W, 3] float32 of depth [H, W] at integer pixel centres."""
    h, w = depth_z.shape
    u, v = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T.astype(np.float32)
    c2w = np.linalg.inv(w2c)
    points = rays * depth_z[..., None]
    return (points @ c2w[:3, :3].T + c2w[:3, 3]).astype(np.float32)


def splat_weights(u: np.ndarray, v: np.ndarray, z: np.ndarray, log_depth_max: float) -> tuple[np.ndarray, np.ndarray]:
    """The four neighbours of each projected pixel and what they receive, under a soft z-buffer.

    Args:
        u, v: [N] target pixel coordinates, centres at integers. At an exact integer floor and ceil coincide and all
            four weights are 1, as in the reference.
        z: [N] target depth.
        log_depth_max: largest log1p(z) of the whole call; sets the sharpness of the soft z-buffer.

    Returns:
        neighbour (x, y) [4, N, 2] int64 and weight [4, N].
    """
    x0, y0, x1, y1 = np.floor(u), np.floor(v), np.ceil(u), np.ceil(v)
    corners = ((x0, y0), (x1, y0), (x0, y1), (x1, y1))
    near_first = 1.0 / (np.exp(np.minimum(80.0, 50.0 * np.log1p(np.maximum(z, 0)) / (log_depth_max + 1e-7))) + 1e-7)
    neighbours = np.stack([np.stack([x, y], -1) for x, y in corners]).astype(np.int64)
    weights = np.stack([(1 - np.abs(u - x)) * (1 - np.abs(v - y)) for x, y in corners])
    return neighbours, weights * near_first


def forward_warp(
    images: np.ndarray,
    depths_z: np.ndarray,
    ws2c: np.ndarray,
    Ks: np.ndarray,
    target_w2c: np.ndarray,
    target_K: np.ndarray,
    *,
    reliable_only: bool = True,
    hole_value: float = -1.0,
    size_hw: tuple[int, ...] | None = None,
    log_depth_max: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warp V source views into one target camera and accumulate them.

    Args:
        images: [V, H, W, C] float.
        depths_z: [V, H, W]; values <= 0 mark missing pixels; NaN counts as far, as in the reference.
        ws2c: [V, 4, 4] world to camera. Ks: [V, 3, 3].
        target_w2c: [4, 4]. target_K: [3, 3].
        reliable_only: leave out source pixels on depth edges.
        hole_value: what unseen pixels hold.
        size_hw: height and width of the target; those of the sources when None.
        log_depth_max: sharpness of the soft z-buffer, largest log1p(z) of all pixels; found in this warp when None.

    Returns:
        image [H, W, C] float64, seen [H, W] bool, depth_z [H, W] (0 where unseen).
    """
    v, h, w, c = images.shape
    expect_shape("depths_z", depths_z, (v, h, w))
    points, mask = _lifted(depths_z, ws2c, Ks, reliable_only=reliable_only)
    pix = (points @ target_w2c[:3, :3].T + target_w2c[:3, 3]) @ target_K.T
    z = pix[:, 2]
    u, vv = pix[:, 0] / (z + 1e-7), pix[:, 1] / (z + 1e-7)
    log_max = _log_depth_max(z) if log_depth_max is None else log_depth_max
    ok = mask & (z > 0)
    flat = np.concatenate([images.reshape(-1, c), z[:, None]], 1)[ok].astype(np.float64)
    h, w = (h, w) if size_hw is None else (size_hw[0], size_hw[1])
    # A one-pixel border catches what falls outside and is cropped away.
    uu = np.clip(u[ok] + 1, 0, w + 1)
    vv = np.clip(vv[ok] + 1, 0, h + 1)
    offsets, weights = splat_weights(uu, vv, z[ok], log_max)
    total = np.zeros((h + 2) * (w + 2))
    acc = np.zeros((c + 1, (h + 2) * (w + 2)))
    for offset, weight in zip(offsets, weights, strict=True):
        index = offset[:, 1] * (w + 2) + offset[:, 0]
        total += np.bincount(index, weight, minlength=total.size)
        for k in range(c + 1):
            acc[k] += np.bincount(index, weight * flat[:, k], minlength=total.size)
    total = total.reshape(h + 2, w + 2)[1:-1, 1:-1]
    acc = acc.reshape(c + 1, h + 2, w + 2)[:, 1:-1, 1:-1]
    seen = total > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(seen, acc / total, 0.0)
    image = np.where(seen[..., None], np.moveaxis(mean[:c], 0, -1), hole_value)
    return image, seen, np.where(seen, mean[c], 0.0)


def forward_warp_many(
    images: np.ndarray,
    depths_z: np.ndarray,
    ws2c: np.ndarray,
    Ks: np.ndarray,
    targets_w2c: np.ndarray,
    targets_K: np.ndarray,
    *,
    reliable_only: bool = True,
    hole_value: float = -1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`forward_warp` into T targets [T, 4, 4], [T, 3, 3] that share the sharpness of the soft z-buffer, as one call of
    the reference does; results have a leading T."""
    points, _ = _lifted(depths_z, ws2c, Ks, reliable_only=reliable_only)
    log_max = max(
        _log_depth_max((points @ w2c[:3, :3].T + w2c[:3, 3]) @ K[2])
        for w2c, K in zip(targets_w2c, targets_K, strict=True)
    )
    options = {"reliable_only": reliable_only, "hole_value": hole_value, "log_depth_max": log_max}
    results = [
        forward_warp(images, depths_z, ws2c, Ks, w2c, K, **options)
        for w2c, K in zip(targets_w2c, targets_K, strict=True)
    ]
    image, seen, depth = (np.stack(part) for part in zip(*results, strict=True))
    return image, seen, depth


def _lifted(
    depths_z: np.ndarray, ws2c: np.ndarray, Ks: np.ndarray, *, reliable_only: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Points [V * H * W, 3] of all views, the origin where they are masked, and the mask."""
    depths = clean_depth(depths_z).astype(np.float32)
    mask = depths > 0
    if reliable_only:
        mask &= reliable_mask(depths)
    points = np.stack([unproject_reference(d, w2c, K) for d, w2c, K in zip(depths, ws2c, Ks, strict=True)])
    return np.where(mask[..., None], points, 0.0).reshape(-1, 3), mask.reshape(-1)


def _log_depth_max(z: np.ndarray) -> float:
    """Largest log1p(z); masked pixels sit at the origin and count, as in the reference."""
    return float(np.log1p(np.maximum(z, 0)).max()) if len(z) else 0.0


def gather(
    points_world: np.ndarray,
    *,
    camera: PinholeCamera,
    T_world_cam: np.ndarray,
    depth_z_m: np.ndarray,
    rgb: np.ndarray,
    usable: np.ndarray,
    tolerance: float = SAME_DEPTH,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour of world points as a remembered view saw them.

    Args:
        points_world: [N, 3] [m].
        camera, T_world_cam, depth_z_m [H, W], rgb [H, W, 3], usable [H, W] bool: the view.
        tolerance: relative depth difference up to which a point counts as visible.

    Returns:
        rgb [N, 3] float32, visible [N] bool, px_per_m [N] float32: how finely the view resolved the point.
    """
    import cv2

    points_cam = transform_points(invert_rigid(T_world_cam), points_world)
    h, w = camera.height_px, camera.width_px
    # A point between the outermost pixel centres and the picture's edge still belongs to the picture.
    with np.errstate(divide="ignore", invalid="ignore"):
        all_u = camera.fx_px * points_cam[:, 0] / points_cam[:, 2] + camera.cx_px
        all_v = camera.fy_px * points_cam[:, 1] / points_cam[:, 2] + camera.cy_px
    front = points_cam[:, 2] > 1e-3
    pick = np.flatnonzero(front & (all_u >= 0) & (all_u <= w) & (all_v >= 0) & (all_v <= h))
    u, v, z = all_u[pick], all_v[pick], points_cam[pick, 2]
    x, y = np.minimum(u.astype(int), w - 1), np.minimum(v.astype(int), h - 1)
    same = np.abs(depth_z_m[y, x] - z) <= tolerance * np.maximum(z, 0.5)
    seen = same & usable[y, x]
    pick, u, v, z = pick[seen], u[seen], v[seen], z[seen]
    visible = np.zeros(len(points_world), bool)
    visible[pick] = True
    px_per_m = np.zeros(len(points_world), np.float32)
    px_per_m[pick] = camera.fx_px / z
    out = np.zeros((len(points_world), 3), np.float32)
    chunk = 30_000  # cv2.remap addresses at most 32767 rows
    for start in range(0, len(pick), chunk):
        part = slice(start, start + chunk)
        map_x, map_y = (u[part] - 0.5).astype(np.float32)[:, None], (v[part] - 0.5).astype(np.float32)[:, None]
        out[pick[part]] = cv2.remap(rgb, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
    return out, visible, px_per_m

"""Rays against what `clutter` has put beside the way: cylinders and boxes in closed form, one thread a ray."""

from __future__ import annotations

import torch
import warp as wp

from ..clutter import ClutterBook


@wp.func
def _slab(start: float, along: float, half: float, span: wp.vec2):
    """The part of a ray's span between two planes at -half and half."""
    if wp.abs(along) < 1.0e-9:
        if wp.abs(start) > half:
            return wp.vec2(1.0, 0.0)
        return span
    a = (-half - start) / along
    b = (half - start) / along
    return wp.vec2(wp.max(span[0], wp.min(a, b)), wp.min(span[1], wp.max(a, b)))


@wp.func
def _round(start: wp.vec2, along: wp.vec2, radius: float, span: wp.vec2):
    """The part of a ray's span inside an upright cylinder."""
    a = wp.dot(along, along)
    c = wp.dot(start, start) - radius * radius
    if a < 1.0e-12:
        if c > 0.0:
            return wp.vec2(1.0, 0.0)
        return span
    b = wp.dot(start, along)
    d = b * b - a * c
    if d < 0.0:
        return wp.vec2(1.0, 0.0)
    root = wp.sqrt(d)
    return wp.vec2(wp.max(span[0], (-b - root) / a), wp.min(span[1], (-b + root) / a))


@wp.kernel(enable_backward=False)
def _hide(
    xy: wp.array2d[wp.float32],
    yaw: wp.array[wp.float32],
    rays: wp.array[wp.vec3],
    ahead: float,
    height: float,
    max_range: float,
    things_xy: wp.array3d[wp.float32],
    things_yaw: wp.array2d[wp.float32],
    half: wp.array3d[wp.float32],
    radius: wp.array2d[wp.float32],
    tall: wp.array2d[wp.float32],
    there: wp.array2d[wp.bool],
    shares: wp.array2d[wp.float32],
):
    env, ray = wp.tid()
    cos, sin = wp.cos(yaw[env]), wp.sin(yaw[env])
    r = rays[ray]
    along = wp.vec2(cos * r[0] - sin * r[1], sin * r[0] + cos * r[1])
    start = wp.vec2(xy[env, 0] + cos * ahead, xy[env, 1] + sin * ahead)
    nearest = shares[env, ray] * max_range
    for k in range(things_yaw.shape[1]):
        if there[env, k]:
            # Middle of the thing's height as the origin.
            up = 0.5 * tall[env, k]
            span = _slab(height - up, r[2], up, wp.vec2(0.0, nearest))
            to = start - wp.vec2(things_xy[env, k, 0], things_xy[env, k, 1])
            if radius[env, k] > 0.0:
                span = _round(to, along, radius[env, k], span)
            else:
                c, s = wp.cos(things_yaw[env, k]), wp.sin(things_yaw[env, k])
                span = _slab(c * to[0] + s * to[1], c * along[0] + s * along[1], half[env, k, 0], span)
                span = _slab(c * to[1] - s * to[0], c * along[1] - s * along[0], half[env, k, 1], span)
            if span[0] <= span[1]:
                nearest = span[0]
    shares[env, ray] = nearest / max_range


class ClutterCaster:
    """What things hide from rays that were cast against the world."""

    def __init__(self, book: ClutterBook, device: str) -> None:
        self._book, self._device = book, device

    def hide(
        self,
        shares: torch.Tensor,
        rays: wp.array,
        xy_w: torch.Tensor,
        yaw: torch.Tensor,
        *,
        height_m: float,
        max_range_m: float,
        ahead_m: float = 0.0,
    ) -> None:
        """Shorten ranges where a thing is nearer than the world.

        Args:
            shares: [N, R] ranges as shares of the largest, changed in place.
            rays: [R] in the frame `base`; ranges are measured in their lengths.
            xy_w: [N, 2] robots.
            yaw: [N].
            height_m: of the sensor above the floor.
            max_range_m: the largest range.
            ahead_m: of the sensor before the robot's middle.
        """
        book = self._book
        things = (book.xy_w, book.yaw, book.half_m, book.radius_m, book.height_m, book.there)
        wp.launch(
            _hide,
            dim=shares.shape,
            inputs=[
                wp.from_torch(xy_w.contiguous()),
                wp.from_torch(yaw.contiguous()),
                rays,
                ahead_m,
                height_m,
                max_range_m,
                *(wp.from_torch(t) for t in things),
            ],
            outputs=[wp.from_torch(shares)],
            device=self._device,
        )

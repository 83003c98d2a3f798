"""Things without splats in the pictures of robots' cameras: boxes and cylinders, cast with Warp; the nearer is seen.

What moves has no splats: movable things, other robots, parts of a robot that its own camera sees. Each is a box or a
cylinder of one colour, flat-shaded, at a pose of its own in every environment. A splat picture has one depth a pixel,
so what is seen through half-transparent splats is mixed only behind the depth where they have taken half of the light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch  # noqa: TID253 this module is about tensors
import warp as wp  # noqa: TID253 and about kernels of Warp

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError

from .splat_cameras import SplatPictures

BOX, CYLINDER = 0, 1
LIGHT_WORLD = (0.36, 0.28, 0.89)
"""Unit vector towards the light."""
DARKEST = 0.45
"""Of a face that the light does not reach, as a share of its colour."""
NEAR_M = 0.05
"""Nothing nearer is drawn, and nothing that the camera is inside of."""


@dataclass(frozen=True, kw_only=True)
class Solids:
    """B things that every environment has."""

    Ts_world_body: torch.Tensor
    """[N, B, 4, 4] rigid, in the frame of each environment's world."""
    shape: torch.Tensor
    """[B] int32: `BOX` or `CYLINDER`, whose axis is its body's z."""
    half_m: torch.Tensor
    """[B, 3] half of the lengths along the body's axes; of a cylinder radius, radius, half of the height."""
    rgb: torch.Tensor
    """[B, 3] in 0..1."""
    present: torch.Tensor | None = None
    """[N, B] bool; None: everywhere."""

    def validate(self, count: int) -> Solids:
        """Return self if it fits so many environments; raises `InputError` that names the first problem."""
        b = len(self.shape)
        for name, tensor, shape in (
            ("Ts_world_body", self.Ts_world_body, (count, b, 4, 4)),
            ("half_m", self.half_m, (b, 3)),
            ("rgb", self.rgb, (b, 3)),
            ("present", self.present, (count, b)),
        ):
            if tensor is not None and tuple(tensor.shape) != shape:
                raise InputError(f"{name} is {list(tensor.shape)}; expected {list(shape)}")
        if b and not (bool((self.half_m > 0).all()) and bool(((self.shape == BOX) | (self.shape == CYLINDER)).all())):
            raise InputError("half_m holds lengths <= 0, or shape another number than BOX and CYLINDER")
        return self


def with_solids(
    pictures: SplatPictures, Ts_world_cam: torch.Tensor, camera: PinholeCamera, solids: Solids
) -> SplatPictures:
    """The pictures with what has no splats in them.

    Args:
        pictures: of N cameras.
        Ts_world_cam: [N, 4, 4] their poses.
        camera: their intrinsics.
        solids: of the N environments.

    Raises:
        InputError: numbers or shapes do not fit.
    """
    count, bodies = len(Ts_world_cam), len(solids.validate(len(Ts_world_cam)).shape)
    if not bodies:
        return pictures
    wp.init()
    device = pictures.rgb.device
    rgb, depth = pictures.rgb.clone(), pictures.depth_z_m.clone()
    alpha, valid = pictures.alpha.clone(), pictures.valid.to(torch.int32)
    T_world_body = solids.Ts_world_body.to(device, torch.float64)
    R_body_world = T_world_body[..., :3, :3].transpose(-1, -2)
    T_body_cam = torch.eye(4, dtype=torch.float64, device=device).repeat(count, bodies, 1, 1)
    T_world_cam = Ts_world_cam.to(device, torch.float64).unsqueeze(1)
    T_body_cam[..., :3, :3] = R_body_world @ T_world_cam[..., :3, :3]
    T_body_cam[..., :3, 3:] = R_body_world @ (T_world_cam[..., :3, 3:] - T_world_body[..., :3, 3:])
    light = R_body_world @ T_world_body.new_tensor(LIGHT_WORLD)
    present = torch.ones(count, bodies, device=device) if solids.present is None else solids.present
    wp.launch(
        _draw,
        dim=depth.shape,
        inputs=[
            wp.from_torch(T_body_cam.float().contiguous(), dtype=wp.mat44),
            wp.from_torch(light.float().contiguous(), dtype=wp.vec3),
            wp.from_torch(present.to(device, torch.int32).contiguous()),
            wp.from_torch(solids.shape.to(device, torch.int32).contiguous()),
            wp.from_torch(solids.half_m.to(device, torch.float32).contiguous(), dtype=wp.vec3),
            wp.from_torch(solids.rgb.to(device, torch.float32).contiguous(), dtype=wp.vec3),
            wp.vec4(camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px),
        ],
        outputs=[
            wp.from_torch(rgb.contiguous(), dtype=wp.vec3),
            wp.from_torch(alpha),
            wp.from_torch(depth),
            wp.from_torch(valid),
        ],
        device=str(device),
    )
    return replace(pictures, rgb=rgb, alpha=alpha, depth_z_m=depth, valid=valid > 0)


@wp.struct
class _Hit:
    t: wp.float32
    normal: wp.vec3


@wp.func
def _box(start: wp.vec3, ray: wp.vec3, half: wp.vec3):
    enter, leave = wp.float32(-1.0e30), wp.float32(1.0e30)
    axis = wp.int32(0)
    for i in range(3):
        if wp.abs(ray[i]) < 1.0e-9:
            if wp.abs(start[i]) > half[i]:
                leave = -1.0e30
        else:
            a, b = (-half[i] - start[i]) / ray[i], (half[i] - start[i]) / ray[i]
            if wp.min(a, b) > enter:
                enter = wp.min(a, b)
                axis = i
            leave = wp.min(leave, wp.max(a, b))
    hit = _Hit()
    hit.t = -1.0
    if enter <= leave:
        hit.t = enter
        normal = wp.vec3(0.0, 0.0, 0.0)
        normal[axis] = -wp.sign(ray[axis])
        hit.normal = normal
    return hit


@wp.func
def _cylinder(start: wp.vec3, ray: wp.vec3, half: wp.vec3):
    hit = _Hit()
    hit.t = -1.0
    # Into the endless tube ...
    a = ray[0] * ray[0] + ray[1] * ray[1]
    b = start[0] * ray[0] + start[1] * ray[1]
    c = start[0] * start[0] + start[1] * start[1] - half[0] * half[0]
    enter, leave = wp.float32(-1.0e30), wp.float32(1.0e30)
    if a > 1.0e-12:
        square = b * b - a * c
        if square < 0.0:
            return hit
        enter = (-b - wp.sqrt(square)) / a
        leave = (-b + wp.sqrt(square)) / a
    elif c > 0.0:
        return hit
    place = start + enter * ray
    normal = wp.vec3(place[0], place[1], 0.0) / half[0]
    # ... and between its ends.
    if wp.abs(ray[2]) < 1.0e-9:
        if wp.abs(start[2]) > half[2]:
            return hit
    else:
        low, high = (-half[2] - start[2]) / ray[2], (half[2] - start[2]) / ray[2]
        if wp.min(low, high) > enter:
            enter = wp.min(low, high)
            normal = wp.vec3(0.0, 0.0, -wp.sign(ray[2]))
        leave = wp.min(leave, wp.max(low, high))
    if enter <= leave:
        hit.t = enter
        hit.normal = normal
    return hit


@wp.kernel(enable_backward=False)
def _draw(
    T_body_cam: wp.array2d[wp.mat44],
    light: wp.array2d[wp.vec3],
    present: wp.array2d[wp.int32],
    shape: wp.array[wp.int32],
    half: wp.array[wp.vec3],
    colour: wp.array[wp.vec3],
    intrinsics: wp.vec4,
    rgb: wp.array3d[wp.vec3],
    alpha: wp.array3d[wp.float32],
    depth: wp.array3d[wp.float32],
    valid: wp.array3d[wp.int32],
):
    env, row, col = wp.tid()
    # One metre of depth long, so that what a hit is called t is its depth.
    ray_cam = wp.vec3(
        (float(col) + 0.5 - intrinsics[2]) / intrinsics[0], (float(row) + 0.5 - intrinsics[3]) / intrinsics[1], 1.0
    )
    nearest = wp.float32(1.0e30)
    seen = wp.vec3(0.0, 0.0, 0.0)
    for b in range(shape.shape[0]):
        if present[env, b] != 0:
            T = T_body_cam[env, b]
            start, ray = wp.transform_point(T, wp.vec3(0.0, 0.0, 0.0)), wp.transform_vector(T, ray_cam)
            hit = _Hit()
            if shape[b] == CYLINDER:
                hit = _cylinder(start, ray, half[b])
            else:
                hit = _box(start, ray, half[b])
            if hit.t > NEAR_M and hit.t < nearest:
                nearest = hit.t
                shade = DARKEST + (1.0 - DARKEST) * wp.max(wp.dot(hit.normal, light[env, b]), 0.0)
                seen = shade * colour[b]
    if nearest > 1.0e29:
        return
    if valid[env, row, col] != 0 and depth[env, row, col] <= nearest:
        # Behind the splats, through what light they let pass.
        rgb[env, row, col] = rgb[env, row, col] + (1.0 - alpha[env, row, col]) * seen
    else:
        rgb[env, row, col] = seen
        depth[env, row, col] = nearest
        valid[env, row, col] = 1
    alpha[env, row, col] = 1.0

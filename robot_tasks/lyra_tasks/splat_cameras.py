"""Colour cameras of many robots over one set of splats a world: another camera costs its pixels and nothing else.

Poses are `T_world_cam` in the frame of each robot's own world, cameras have OpenCV axes. What draws is a
`SplatRenderer`; `splat_drawers` chooses one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SplatPictures:
    """What C cameras see."""

    rgb: torch.Tensor
    """[C, H, W, 3] float32 in 0..1, display-referred sRGB over black."""
    alpha: torch.Tensor
    """[C, H, W] float32 in 0..1."""
    depth_z_m: torch.Tensor
    """[C, H, W] float32 along the optical axis; 0 where `valid` is false."""
    valid: torch.Tensor
    """[C, H, W] bool: something solid is seen; false in the sky."""


class SplatRenderer(Protocol):
    """Draws worlds whose splats it was given once."""

    @property
    def bytes_held(self) -> int:
        """Memory of all splats, whatever the number of cameras."""
        ...

    def draw(self, world: int, Ts_world_cam: torch.Tensor, camera: PinholeCamera) -> SplatPictures:
        """What cameras [C, 4, 4] in one world see, on the device of their poses."""
        ...


class SplatCameras:
    """One camera a robot, all of the same intrinsics.

    Args:
        renderer: with the splats of all worlds.
        world: [N] long, the world of each robot.
        camera: size and intrinsics.
    """

    def __init__(self, renderer: SplatRenderer, world: torch.Tensor, camera: PinholeCamera) -> None:
        self.renderer, self.camera = renderer, camera
        self._count = len(world)
        self._robots = [(int(k), (world == k).nonzero().flatten()) for k in world.unique().tolist()]
        """Worlds and the robots in them."""

    def render(self, Ts_world_cam: torch.Tensor) -> SplatPictures:
        """What every robot sees.

        Args:
            Ts_world_cam: [N, 4, 4] rigid.

        Raises:
            InputError: another number of poses than robots.
        """
        if Ts_world_cam.shape != (self._count, 4, 4):
            raise InputError(f"Ts_world_cam is {list(Ts_world_cam.shape)}; expected [{self._count}, 4, 4]")
        if len(self._robots) == 1:
            return self.renderer.draw(self._robots[0][0], Ts_world_cam, self.camera)
        shape, device = (self._count, self.camera.height_px, self.camera.width_px), Ts_world_cam.device
        whole = SplatPictures(
            rgb=torch.empty(*shape, 3, device=device),
            alpha=torch.empty(shape, device=device),
            depth_z_m=torch.empty(shape, device=device),
            valid=torch.empty(shape, dtype=torch.bool, device=device),
        )
        for world, robots in self._robots:
            part = self.renderer.draw(world, Ts_world_cam[robots], self.camera)
            for name in ("rgb", "alpha", "depth_z_m", "valid"):
                getattr(whole, name)[robots] = getattr(part, name)
        return whole


def camera_poses(
    xy_m: torch.Tensor, yaw: torch.Tensor, *, ahead_m: float, height_m: float, pitch_rad: float
) -> torch.Tensor:
    """[N, 4, 4] float64 `T_world_cam` of level robots' cameras.

    Args:
        xy_m: [N, 2] robots, in the frame that the poses are wanted in.
        yaw: [N] [rad].
        ahead_m: of the camera before the robot's middle.
        height_m: of the camera, in that frame.
        pitch_rad: by how much the optical axis points up.
    """
    xy_m, yaw = xy_m.double(), yaw.double()
    ahead = torch.stack([yaw.cos(), yaw.sin(), torch.zeros_like(yaw)], -1)
    up = yaw.new_tensor([0.0, 0.0, 1.0]).expand_as(ahead)
    pitch = yaw.new_tensor(pitch_rad)
    forward = pitch.cos() * ahead + pitch.sin() * up
    down = pitch.sin() * ahead - pitch.cos() * up
    T = torch.eye(4, dtype=torch.float64, device=xy_m.device).repeat(len(xy_m), 1, 1)
    T[:, :3, :3] = torch.stack([torch.linalg.cross(down, forward), down, forward], -1)
    T[:, :2, 3] = xy_m + ahead_m * ahead[:, :2]
    T[:, 2, 3] = height_m
    return T

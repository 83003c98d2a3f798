"""Scans of known scenes as other programs write them: COLMAP text, nerfstudio's `transforms.json`, Lyra's `.npz`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lyra.worldgen.core.frames import (
    invert_rigid,
    quat_wxyz_from_rotation,
    rotation_x,
    rotation_y,
    rotation_z,
    usd_from_cv_camera,
)
from lyra.worldgen.core.views import RgbdView


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How the file's axes and unit relate to the world: p_file = scale R p_world + t."""

    scale: float
    R: np.ndarray
    t: np.ndarray

    def pose(self, T_world_cam: np.ndarray) -> np.ndarray:
        """[4, 4] T_file_cam, rigid, in units of the file."""
        T = np.eye(4)
        T[:3, :3] = self.R @ T_world_cam[:3, :3]
        T[:3, 3] = self.scale * self.R @ T_world_cam[:3, 3] + self.t
        return T

    def points(self, points_world: np.ndarray) -> np.ndarray:
        """[N, 3] in the file."""
        return self.scale * points_world @ self.R.T + self.t


def any_similarity(seed: int, *, scale: float | None = None) -> Similarity:
    """A similarity as structure from motion leaves it."""
    rng = np.random.default_rng([seed, 0x51317])
    a, b, c = rng.uniform(-np.pi, np.pi, 3)
    return Similarity(
        scale=float(np.exp(rng.uniform(-1.5, 1.0))) if scale is None else scale,
        R=rotation_z(a) @ rotation_x(b) @ rotation_y(c),
        t=rng.uniform(-3, 3, 3),
    )


def write_colmap(
    folder: Path, views: list[RgbdView], similarity: Similarity, *, depth: str = "", points: int = 0
) -> Path:
    """A folder with `images/` and `sparse/0/*.txt`; `depth` is the suffix of the depth maps, empty for none."""
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    _pictures(folder, views, similarity, depth)
    cameras, images = ["# Camera list"], ["# Image list"]
    cloud: list[np.ndarray] = []
    rng = np.random.default_rng(1)
    for i, view in enumerate(views, 1):
        c = view.camera
        cameras.append(f"{i} PINHOLE {c.width_px} {c.height_px} {c.fx_px} {c.fy_px} {c.cx_px} {c.cy_px}")
        T = invert_rigid(similarity.pose(view.T_world_cam))
        q = quat_wxyz_from_rotation(T[:3, :3])
        images.append(f"{i} {' '.join(map(repr, [*map(float, q), *map(float, T[:3, 3])]))} {i} {i:04d}.png")
        images.append("12.5 40.5 -1 99.25 3.5 7" if i % 2 else "")
        if points:
            pick = rng.choice(view.valid.sum(), points // len(views) + 1)
            xyz = (view.camera.unproject(view.depth_z_m)[view.valid])[pick]
            world = xyz @ view.T_world_cam[:3, :3].T + view.T_world_cam[:3, 3]
            cloud.append(similarity.points(world))
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(images) + "\n")
    if cloud:
        lines = [f"{k} {p[0]} {p[1]} {p[2]} 10 20 30 0.5 1 2" for k, p in enumerate(np.concatenate(cloud))]
        (model / "points3D.txt").write_text("\n".join(["# points", *lines]) + "\n")
    return folder


def write_transforms(folder: Path, views: list[RgbdView], similarity: Similarity, *, depth: str = "") -> Path:
    """A nerfstudio data set."""
    folder.mkdir(parents=True)
    _pictures(folder, views, similarity, depth)
    c = views[0].camera
    frames = []
    for i, view in enumerate(views, 1):
        frame = {
            "file_path": f"./images/{i:04d}.png",
            "transform_matrix": usd_from_cv_camera(similarity.pose(view.T_world_cam)).tolist(),
        }
        if depth:
            frame["depth_file_path"] = f"depth/{i:04d}{depth}"
        frames.append(frame)
    shared = {"w": c.width_px, "h": c.height_px, "fl_x": c.fx_px, "fl_y": c.fy_px, "cx": c.cx_px, "cy": c.cy_px}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **shared, "frames": frames}))
    return folder


def write_lyra(folder: Path, views: list[RgbdView], similarity: Similarity, *, depth: str = "") -> Path:
    """Pictures with a camera path in Lyra's layout beside them."""
    folder.mkdir(parents=True)
    _pictures(folder, views, similarity, depth)
    K = np.stack([view.camera.K_px for view in views])
    K[:, :2, 2] -= 0.5
    np.savez(
        folder / "trajectory.npz",
        w2c=np.stack([invert_rigid(similarity.pose(view.T_world_cam)) for view in views]).astype(np.float32),
        intrinsics=K.astype(np.float32),
        image_height=views[0].camera.height_px,
        image_width=views[0].camera.width_px,
    )
    return folder


def _pictures(folder: Path, views: list[RgbdView], similarity: Similarity, depth: str) -> None:
    from lyra.worldgen.core.exr import write_exr_channel

    (folder / "images").mkdir()
    if depth:
        (folder / "depth").mkdir()
    for i, view in enumerate(views, 1):
        Image.fromarray(view.rgb_u8).save(folder / "images" / f"{i:04d}.png", compress_level=1)
        path = folder / "depth" / f"{i:04d}{depth}"
        in_file = np.where(view.valid, view.depth_z_m * similarity.scale, 0.0).astype(np.float32)
        if depth == ".npy":
            np.save(path, in_file)
        elif depth == ".npz":
            np.savez(path, depth=in_file)
        elif depth == ".exr":
            path.write_bytes(write_exr_channel(in_file, half=False))
        elif depth == ".png":  # metres times 1000, whatever the unit of the poses
            mm = np.where(view.valid, view.depth_z_m * 1000 + 0.5, 0)
            Image.fromarray(mm.astype(np.uint16)).save(path)

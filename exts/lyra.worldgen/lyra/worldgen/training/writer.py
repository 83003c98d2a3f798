"""Training films as a folder, from procedural rooms or from worlds of ours; see `dataset` for the layout."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import ConfigError, InputError
from ..core.exr import write_exr_channel
from ..core.files import naming, write_bytes, write_text
from ..core.frames import invert_rigid
from ..core.progress import SILENT, SupportsProgress
from ..core.raycast import Raycaster
from ..core.video import write_video
from ..core.world import World
from ..generation.trajectory_files import interpolate_poses
from ..generation.warp import reference_K
from .clips import Caption, Clip
from .dataset import LIST_NAME
from .procedural import FilmSpec, procedural_clip

FORMS = ("exact", "released")
"""Lossless arrays of ours, or the files of the released training (MPEG-4, EXR in half precision)."""
FPS = 16.0


def write_films(
    root: Path, clips: Iterable[Clip], *, form: str = "exact", count: int = 0, progress: SupportsProgress = SILENT
) -> list[str]:
    """Write films and the list of them.

    Args:
        root: the folder, made if it is missing.
        clips: the films; made while they are written.
        form: one of `FORMS`.
        count: how many will come, for progress.
        progress: told each film.

    Returns:
        ids in the order they came.

    Raises:
        ConfigError: unknown form. InputError: the folder cannot be written to.
    """
    if form not in FORMS:
        raise ConfigError(f"form is '{form}'; expected one of: {', '.join(FORMS)}")
    ids = []
    for clip in progress.track("films", clips, count):
        _write(root, clip, form)
        ids.append(clip.video_id)
        # The list names finished films only.
        write_text(root / LIST_NAME, "\n".join(ids) + "\n", sync=False)
    return ids


def procedural_films(count: int, spec: FilmSpec, *, seed: int) -> Iterator[Clip]:
    """Films through random rooms; film k is room `seed + k`."""
    return (procedural_clip(seed + k, spec) for k in range(count))


def world_films(world: World, spec: FilmSpec) -> Iterator[Clip]:
    """The film along the explored path of a finished world, in pieces of `spec.frames` frames.

    Colours and depth come from the world's mesh, so that both belong to one geometry.

    Raises:
        InputError: the world has no mesh, or its path has fewer than two poses.
        DependencyError: embreex is missing.
    """
    views, mesh = world.views(), world.mesh()
    Ts = views.Ts_world_path
    if len(Ts) < 2:
        raise InputError(f"the world was explored from one place; extend it along a path first: {world.folder}")
    steps_m = np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1)
    cosine = (np.einsum("nij,nij->n", Ts[1:, :3, :3], Ts[:-1, :3, :3]) - 1) / 2
    turns = np.arccos(np.clip(cosine, -1, 1))
    frames = np.maximum(steps_m / max(spec.speed_m, 1e-6), turns / np.radians(max(spec.turn_deg, 1e-3)))
    keys = np.concatenate([[0], np.cumsum(np.maximum(np.ceil(frames), 1))]).astype(int)
    ws2c = interpolate_poses(np.stack([invert_rigid(T) for T in Ts]), keys, int(keys[-1]) + 1)
    camera = PinholeCamera.from_hfov(spec.width_px, spec.height_px, np.radians(spec.hfov_deg))
    raycaster = Raycaster(mesh)
    caption = {0: Caption(text="A walk through a room that stays as it is.")}
    for piece, first in enumerate(range(0, len(ws2c) - 1, spec.frames)):
        part = ws2c[first : first + spec.frames]
        pictures, depths = [], []
        for w2c in part:
            image = raycaster.render(camera, invert_rigid(w2c.astype(np.float64)))
            pictures.append(image.shade(mesh))
            depths.append(np.where(image.hit, image.depth_z_m, 0))
        yield Clip(
            video_id=f"world-{world.manifest.id}-{piece:03d}",
            rgb_u8=np.stack(pictures),
            depth_z=np.stack(depths).astype(np.float32),
            w2c=part,
            K_px=reference_K(camera).astype(np.float32),
            captions=caption,
        )


def _write(root: Path, clip: Clip, form: str) -> None:
    name, exact = clip.video_id, form == "exact"
    inds = np.arange(len(clip))
    with naming("write", root):
        for folder in ("rgb", "pose", "intrinsics", "depth", "captions"):
            (root / folder).mkdir(parents=True, exist_ok=True)
    c2w = np.linalg.inv(clip.w2c.astype(np.float64)).astype(np.float32)
    K = clip.K_px
    line = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float32)
    _write_npz(root / "pose" / f"{name}.npz", inds=inds, data=c2w)
    _write_npz(root / "intrinsics" / f"{name}.npz", inds=inds, data=np.tile(line, (len(clip), 1)))
    texts = {str(frame): caption.text for frame, caption in clip.captions.items()}
    if texts:
        write_text(root / "captions" / f"{name}.json", json.dumps(texts, indent=2) + "\n", sync=False)
    if exact:
        _write_npz(root / "rgb" / f"{name}.npz", frames=clip.rgb_u8)
        _write_npz(root / "depth" / f"{name}.npz", inds=inds, data=clip.depth_z)
        return
    h, w = clip.rgb_u8.shape[1:3]
    with naming("write", root):
        write_video(root / "rgb" / f"{name}.mp4", clip.rgb_u8, size_px=(w, h), fps=FPS)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for index, depth in enumerate(clip.depth_z):
            info = zipfile.ZipInfo(f"{index:05d}.exr", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, write_exr_channel(depth))
    write_bytes(root / "depth" / f"{name}.zip", packed.getvalue(), sync=False)


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # pyright: ignore[reportArgumentType]
    write_bytes(path, packed.getvalue(), sync=False)

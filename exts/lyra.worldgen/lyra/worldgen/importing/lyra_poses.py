"""Camera paths in Lyra 2.0's layout (`w2c`, `intrinsics`, size) beside the pictures or the video that they are of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.files import PICTURE_SUFFIXES
from ..core.frames import invert_rigid
from ..generation.trajectory_files import read_trajectory
from .posed import Lens, PosedFrame, PosedSet, rigid_pose

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
_FOLDERS = ("images", "rgb", "frames")
_POSES = ("trajectory.npz", "poses.npz", "cameras.npz")
_MAX_LISTED = 200_000


def poses_of_video(video: Path) -> Path | None:
    """The camera path that belongs to a video: of its name, or the only one of a usual name beside it."""
    named = [video.with_suffix(".npz"), *(video.parent / name for name in _POSES)]
    return next((path for path in named if path.is_file()), None)


def pictures_of_poses(poses: Path) -> tuple[Path | None, tuple[Path, ...]]:
    """The video, or the pictures in order of their names, that lie beside a camera path.

    Raises:
        InputError: there are neither, or several that could be meant.
    """
    beside = sorted(entry for entry in poses.parent.iterdir() if entry.is_file())[:_MAX_LISTED]
    videos = [entry for entry in beside if entry.suffix.lower() in VIDEO_SUFFIXES]
    own = [video for video in videos if video.stem == poses.stem]
    if len(own) == 1 or len(videos) == 1:
        return (own or videos)[0], ()
    if videos:
        raise InputError(f"{len(videos)} videos lie beside the poses; name one of them {poses.stem}.mp4: {poses}")
    for name in (poses.stem, *_FOLDERS):
        folder = poses.parent / name
        if folder.is_dir() and (found := _pictures(folder)):
            return None, found
    if found := _pictures(poses.parent):
        return None, found
    raise InputError(
        f"neither a video nor pictures lie beside the poses; put {poses.stem}.mp4 or a folder images/ there: {poses}"
    )


def files_of_poses(poses: Path, video: Path | None = None) -> tuple[Path, ...]:
    """What is read together with a camera path: the video or the pictures, and depth maps in a folder beside it.

    Nothing is refused here; what is missing shows when the pictures are looked for.
    """
    pictures: tuple[Path, ...] = ()
    if video is None:
        try:
            video, pictures = pictures_of_poses(poses)
        except InputError:
            return ()
    folders = [poses.parent / name for name in ("depth", "depths")]
    maps = [sorted(entry for entry in folder.iterdir() if entry.is_file()) for folder in folders if folder.is_dir()]
    return (*(() if video is None else (video,)), *pictures, *(file for part in maps for file in part[:_MAX_LISTED]))


def _pictures(folder: Path) -> tuple[Path, ...]:
    listed = sorted(folder.iterdir())[:_MAX_LISTED]
    return tuple(
        entry
        for entry in listed
        if entry.suffix.lower() in PICTURE_SUFFIXES and entry.is_file() and not entry.is_symlink()
    )


def read_lyra(poses: Path, video: Path | None = None) -> PosedSet:
    """Cameras of every frame; frame i of the path is frame i of the video, or the i-th picture by name.

    Raises:
        InputError: the path is damaged, or has another number of frames than there are pictures.
    """
    path = read_trajectory(poses)
    pictures: tuple[Path, ...] = ()
    if video is None:
        video, pictures = pictures_of_poses(poses)
    count = len(path.w2c)
    if video is None and len(pictures) != count:
        raise InputError(f"{len(pictures)} pictures, but {count} poses; give one picture for each pose: {poses}")
    height, width = (max(1, round(v)) for v in path.size_hw)
    frames = []
    for index in range(count):
        K = path.intrinsics[index]
        # Pixel centres of that layout lie on whole numbers, ours half a pixel further.
        lens = Lens(
            width_px=width,
            height_px=height,
            fx_px=float(K[0, 0]),
            fy_px=float(K[1, 1]),
            cx_px=float(K[0, 2]) + 0.5,
            cy_px=float(K[1, 2]) + 0.5,
        )
        T_cam_file = np.vstack([path.w2c[index][:3], [0.0, 0.0, 0.0, 1.0]])
        frames.append(
            PosedFrame(
                name=f"frame {index}",
                lens=lens,
                T_file_cam=invert_rigid(rigid_pose(T_cam_file, f"frame {index}", poses)),
                video_index=index,
            )
        )
    if video is None:
        frames = [replace(f, picture=p, name=p.name) for f, p in zip(frames, pictures, strict=True)]
    return PosedSet(frames=tuple(frames), layout="npz", path=poses, video=video)

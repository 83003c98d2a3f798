"""A folder, camera path or video to posed pictures in memory: which layout it is, which frames, and their pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import InputError
from ..core.files import PICTURE_SUFFIXES
from ..core.progress import SILENT, SupportsProgress
from .colmap import find_colmap, read_colmap
from .lyra_poses import poses_of_video, read_lyra
from .posed import PosedFrame, PosedSet, spread_frames
from .posed_pictures import (
    depth_by_name,
    fit_lens,
    read_depth,
    read_picture,
    read_video_frames,
    straighten,
    working_size,
)
from .records import Source
from .transforms import TRANSFORMS_NAME, read_transforms

MAX_VIEWS = 64
LEAST_VIEWS = 3
LONG_SIDE_PX = 640
"""Size at which posed pictures are worked with."""


@dataclass(frozen=True, kw_only=True)
class PosedPicture:
    """One straightened picture with its pinhole camera, in the file's own world and unit."""

    name: str
    camera: PinholeCamera
    T_file_cam: np.ndarray
    """[4, 4]."""
    rgb_u8: np.ndarray
    """[H, W, 3]."""
    inside: np.ndarray
    """[H, W] bool: the stored picture shows this pixel."""
    depth_z: np.ndarray | None = None
    """[H, W] float32 in units of the depth file, 0 where unknown."""
    depth_unit_m: float | None = None
    """Metres for each unit of the depth file, where its format says so."""


def find_posed_set(source: Source) -> PosedSet:
    """What a source says about cameras and pictures; every frame has its picture.

    Raises:
        InputError: no layout that is known, or one that is damaged or lacks pictures.
    """
    if source.layout == "npz":
        return _with_depth(read_lyra(source.path), source.files)
    if source.layout == "video":
        poses = poses_of_video(source.path)
        if poses is None:
            raise InputError(
                f"the video has no camera poses; put them beside it as {source.path.stem}.npz (w2c [N, 4, 4], "
                f"intrinsics [N, 3, 3], image_height, image_width), or give a folder that COLMAP made of its frames: "
                f"{source.path}"
            )
        return _with_depth(read_lyra(poses, source.path), source.files)
    root = source.path
    if (root / TRANSFORMS_NAME).is_file():
        return _with_depth(read_transforms(root / TRANSFORMS_NAME), source.files)
    colmap = find_colmap(root)
    if colmap is not None:
        return _with_depth(with_pictures(read_colmap(colmap), root, source.files), source.files)
    paths = [file for file in source.files if file.suffix.lower() == ".npz" and file.parent == root]
    if len(paths) == 1:
        return _with_depth(read_lyra(paths[0]), source.files)
    raise InputError(
        f"the folder holds no camera poses; expected {TRANSFORMS_NAME}, a COLMAP text model (cameras.txt and "
        f"images.txt), or one .npz with w2c and intrinsics beside pictures or a video: {root}"
    )


def load_pictures(
    posed: PosedSet, *, most: int = MAX_VIEWS, long_side_px: int = LONG_SIDE_PX, progress: SupportsProgress = SILENT
) -> list[PosedPicture]:
    """The frames that differ most, with pixels and depth where there is any, straightened and reduced.

    Raises:
        InputError: too few frames, a damaged picture or depth map, or a video that is too short.
        DependencyError: OpenCV is missing.
        Cancelled: the user stopped.
    """
    chosen = [posed.frames[i] for i in spread_frames(posed.Ts_file_cam, most)]
    if len(chosen) < LEAST_VIEWS:
        raise InputError(f"{len(chosen)} posed pictures; expected at least {LEAST_VIEWS}: {posed.path}")
    film = {}
    if posed.video is not None:
        film = read_video_frames(posed.video, [frame.video_index for frame in chosen])
    return [load_picture(frame, posed, film, long_side_px) for frame in progress.track("pictures", chosen)]


def load_picture(frame: PosedFrame, posed: PosedSet, film: dict[int, np.ndarray], long_side_px: int) -> PosedPicture:
    """One frame with pixels and depth, straightened and reduced.

    Args:
        frame: of the set.
        posed: the set.
        film: frames of its video by number, where it has one; the one that is used is taken out.
        long_side_px: of the result.

    Raises:
        InputError: a damaged picture or depth map, or one of another shape than the lens's.
    """
    if frame.picture is None:
        assert posed.video is not None, "a frame without a picture comes from the video"
        rgb = film.pop(frame.video_index)
        stored, where = (rgb.shape[1], rgb.shape[0]), posed.video
    else:
        rgb, stored = read_picture(frame.picture, long_side_px=2 * long_side_px)
        where = frame.picture
    lens = fit_lens(frame.lens, stored, frame.name, where)
    lens = lens.resized(*working_size(lens, long_side_px))
    rgb, inside = straighten(rgb, lens)
    depth, unit = None, None
    if frame.depth is not None:
        depth, unit = read_depth(frame.depth)
        unit = posed.depth_unit if posed.depth_unit is not None and unit is not None else unit
        fit_lens(frame.lens, (depth.shape[1], depth.shape[0]), "a depth map", frame.depth)
        depth, seen = straighten(depth, lens, nearest=True)
        depth = np.where(seen, depth, 0.0).astype(np.float32)
    return PosedPicture(
        name=frame.name,
        camera=lens.camera(),
        T_file_cam=frame.T_file_cam,
        rgb_u8=np.ascontiguousarray(rgb),
        inside=inside,
        depth_z=depth,
        depth_unit_m=unit,
    )


def with_pictures(posed: PosedSet, root: Path, files: tuple[Path, ...]) -> PosedSet:
    """Pictures found by the names that the model gives them: anywhere in the folder, where only one fits."""
    pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    by_name: dict[str, list[Path]] = {}
    for file in pictures:
        by_name.setdefault(file.name, []).append(file)
    frames = []
    for frame in posed.frames:
        wanted = frame.name.replace("\\", "/").split("/")
        fitting = [
            file for file in by_name.get(wanted[-1], []) if list(file.relative_to(root).parts[-len(wanted) :]) == wanted
        ]
        # A folder of depth maps or masks often has the same names.
        usual = [file for file in fitting if {"images", "rgb", "input"} & set(file.relative_to(root).parts[:-1])]
        if len(usual or fitting) != 1:
            found = "no such picture" if not fitting else f"{len(fitting)} pictures of that name"
            raise InputError(
                f"the model names '{frame.name[:120]}', but there is {found}; put the pictures into images/: {root}"
            )
        frames.append(replace(frame, picture=(usual or fitting)[0]))
    return replace(posed, frames=tuple(frames))


def _with_depth(posed: PosedSet, files: tuple[Path, ...]) -> PosedSet:
    """Depth maps found by name, unless the layout names them itself; all frames have one or none has."""
    frames = posed.frames
    if not any(frame.depth for frame in frames):
        found = depth_by_name(frames, files)
        frames = tuple(replace(frame, depth=found.get(frame.name)) for frame in frames)
    with_depth = tuple(frame for frame in frames if frame.depth)
    # Pictures without depth between others with depth add colour only; what is known already does that as well.
    return replace(posed, frames=with_depth if len(with_depth) >= LEAST_VIEWS else frames)

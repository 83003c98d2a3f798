"""Folders of training films: the layout of the released training, and a lossless one of ours (our notes 5.1).

    all_filter.lst               video ids, one a line
    rgb/<id>.mp4                 or rgb/<id>.npz {frames uint8 [T, H, W, 3]}
    pose/<id>.npz                {inds [N], data [N, 4, 4] camera to world}
    intrinsics/<id>.npz          {inds [N], data [N, 4] fx, fy, cx, cy in pixels of the film}
    depth/<id>.zip               %05d.exr with a channel Z, or depth/<id>.npz {inds [N], data [N, H, W]}
    framepack-caption-.../<id>.pkl  or captions/<id>.json; may be missing

`inds` are frame numbers; a film ends before the first frame that lacks anything. Nothing that a file holds is run.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.exr import read_exr_channel
from ..core.files import naming
from ..core.npz import read_foreign_npz
from ..core.optional import require
from .captions import read_caption_json, read_caption_pickle
from .clips import Caption, Clip, one_K

LIST_NAME = "all_filter.lst"
CAPTION_FOLDER = "framepack-caption-qwen3-chunk-80-overlap-0"
MAX_LIST_BYTES = 1 << 26
MAX_EXR_BYTES = 1 << 28
MAX_SIDE = 8192
MAX_FRAMES = 100_000
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


class FilmFolder:
    """Films of a folder, brought to one size and length.

    Args:
        root: the folder.
        frames: length that each film is cut or mirrored to.
        resize_hw, crop_hw: see `Clip.fitted`; None keeps the films' own size.
        held: films that stay in memory.

    Raises:
        InputError: the list is missing, empty, or names something outside of the folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        frames: int,
        resize_hw: tuple[int, int] | None = None,
        crop_hw: tuple[int, int] | None = None,
        held: int = 4,
    ) -> None:
        self.root, self.frames = Path(root), frames
        self._resize_hw, self._crop_hw, self._room = resize_hw, crop_hw, max(held, 1)
        self._held: OrderedDict[str, Clip] = OrderedDict()
        self.video_ids = read_list(self.root / LIST_NAME)

    def __len__(self) -> int:
        return len(self.video_ids)

    def clip(self, index: int) -> Clip:
        """One film, ready for training.

        Raises:
            InputError: one of its files is missing, damaged, or does not fit the others.
        """
        video_id = self.video_ids[index]
        if video_id not in self._held:
            clip = read_film(self.root, video_id, frames=self.frames)
            h, w = clip.rgb_u8.shape[1:3]
            resize = self._resize_hw or (h, w)
            self._held[video_id] = clip.fitted(resize, self._crop_hw or resize).mirrored_to(self.frames)
            while len(self._held) > self._room:
                self._held.popitem(last=False)
        self._held.move_to_end(video_id)
        return self._held[video_id]


def read_list(path: Path) -> list[str]:
    """Video ids of a list file; raises `InputError` for an empty one or ids that are no file names."""
    with naming("read", path), open(path, "rb") as file:
        raw = file.read(MAX_LIST_BYTES + 1)
    if len(raw) > MAX_LIST_BYTES:
        raise InputError(f"the list of videos has more than {MAX_LIST_BYTES} bytes: {path}")
    ids = [line.strip() for line in raw.decode("utf-8", errors="replace").splitlines() if line.strip()]
    if not ids:
        raise InputError(f"the list of videos is empty; expected one id a line: {path}")
    for video_id in ids:
        if not _ID.fullmatch(video_id) or ".." in video_id:
            raise InputError(f"'{video_id[:60]}' is no video id; expected a file name without folders: {path}")
    if len(set(ids)) != len(ids):
        raise InputError(f"the list of videos names one twice: {path}")
    return ids


def read_film(root: Path, video_id: str, *, frames: int) -> Clip:
    """The first `frames` frames of a film as they lie in the folder, fewer if it is shorter.

    Raises:
        InputError: a file is missing, damaged, or does not fit the others.
    """
    rgb = _read_frames(root, video_id, frames)
    h, w = rgb.shape[1:3]
    where = f"{root / 'rgb' / video_id}"
    pose = _indexed(root / "pose" / f"{video_id}.npz", (4, 4), len(rgb))
    intrinsics = _indexed(root / "intrinsics" / f"{video_id}.npz", (4,), len(rgb))
    depth = _read_depth(root, video_id, min(len(rgb), len(pose), len(intrinsics)), (h, w))
    length = min(len(rgb), len(pose), len(intrinsics), len(depth))
    if length < 1:
        raise InputError(f"the film has no frame with pose, intrinsics and depth: {where}")
    c2w = pose[:length].astype(np.float64)
    R = c2w[:, :3, :3]
    off = np.nan_to_num(np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2)), nan=np.inf)
    if not np.isfinite(c2w).all() or off.max() > 1e-2 or (np.linalg.det(R) < 0).any():
        raise InputError(f"the pose of frame {int(off.argmax())} is no rigid transform: {where}")
    return Clip(
        video_id=video_id,
        rgb_u8=rgb[:length],
        depth_z=np.where(np.isfinite(depth[:length]), depth[:length], 0).astype(np.float32),
        w2c=np.linalg.inv(c2w).astype(np.float32),
        K_px=one_K(intrinsics[:length], where),
        captions=_read_captions(root, video_id),
    )


def _read_frames(root: Path, video_id: str, frames: int) -> np.ndarray:
    packed = root / "rgb" / f"{video_id}.npz"
    if packed.exists():
        arrays = read_foreign_npz(packed, {"frames"})
        rgb = arrays.get("frames", np.zeros(0, np.uint8))
        if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or not len(rgb):
            raise InputError(f"frames are {rgb.dtype} {rgb.shape}; expected uint8 [T, H, W, 3]: {packed}")
        return rgb[:frames]
    return read_video(root / "rgb" / f"{video_id}.mp4", frames)


def read_video(path: Path, frames: int) -> np.ndarray:
    """The first `frames` frames [T, H, W, 3] uint8 of a video.

    Raises:
        InputError: the file is missing, no video, or too large.
        DependencyError: OpenCV is missing.
    """
    cv2 = require("cv2", extra="train", package="opencv-python-headless")
    if not path.is_file():
        raise InputError(f"the video is missing: {path}")
    capture = cv2.VideoCapture(str(path))
    try:
        w, h = (int(capture.get(k)) for k in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not capture.isOpened() or not (0 < w <= MAX_SIDE and 0 < h <= MAX_SIDE) or not 0 < frames <= MAX_FRAMES:
            raise InputError(f"the file is no video that can be read, or larger than {MAX_SIDE} px: {path}")
        found = []
        while len(found) < frames:
            ok, bgr = capture.read()
            if not ok:
                break
            found.append(np.ascontiguousarray(bgr[..., ::-1]))
    finally:
        capture.release()
    if not found:
        raise InputError(f"the video has no frame: {path}")
    return np.stack(found)


def _indexed(path: Path, shape: tuple[int, ...], length: int) -> np.ndarray:
    """[N, *shape] of frames 0, 1, ... until the first that is missing, at most `length`."""
    arrays = read_foreign_npz(path, {"inds", "data"})
    inds, data = arrays.get("inds", np.zeros(0)), arrays.get("data", np.zeros(0))
    if inds.ndim != 1 or inds.dtype.kind not in "iu" or data.shape != (len(inds), *shape) or data.dtype.kind != "f":
        wanted = ", ".join(map(str, shape))
        raise InputError(f"inds {inds.shape} and data {data.shape}; expected [N] and [N, {wanted}]: {path}")
    place = {int(k): i for i, k in enumerate(inds)}
    if len(place) != len(inds):
        raise InputError(f"inds name a frame twice: {path}")
    order = []
    while len(order) < length and len(order) in place:
        order.append(place[len(order)])
    return data[order]


def _read_depth(root: Path, video_id: str, length: int, hw: tuple[int, int]) -> np.ndarray:
    packed = root / "depth" / f"{video_id}.npz"
    if packed.exists():
        return _indexed(packed, hw, length)
    path, found = root / "depth" / f"{video_id}.zip", []
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.rpartition("/")[2]: info for info in archive.infolist()}
            while len(found) < length and (info := members.get(f"{len(found):05d}.exr")) is not None:
                if info.file_size > MAX_EXR_BYTES:
                    raise InputError(f"{info.filename[:60]} holds {info.file_size} bytes; at most {MAX_EXR_BYTES}")
                with archive.open(info) as member:
                    depth = read_exr_channel(member.read(MAX_EXR_BYTES + 1))
                if depth.shape != hw:
                    raise InputError(f"{info.filename[:60]} is {depth.shape[1]}x{depth.shape[0]}; the film {hw[::-1]}")
                found.append(depth)
    except InputError as error:
        raise InputError(f"{error}: {path}") from error
    except FileNotFoundError as error:
        raise InputError(f"the film has no depth, neither .zip nor .npz: {path}") from error
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise InputError(f"the depth archive is damaged ({type(error).__name__}): {path}") from error
    return np.stack(found) if found else np.zeros((0, *hw), np.float32)


def _read_captions(root: Path, video_id: str) -> dict[int, Caption]:
    pickled, plain = root / CAPTION_FOLDER / f"{video_id}.pkl", root / "captions" / f"{video_id}.json"
    if pickled.exists():
        return read_caption_pickle(pickled)
    return read_caption_json(plain) if plain.exists() else {}

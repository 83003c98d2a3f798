"""The painted video of a world, frame by frame, and what its splats show from the same cameras.

A walk was painted as a film, of which the world keeps every frame; a turn or a visit as separate looks, all of which it
remembers. Together, in the order in which they were painted, they are what was generated so far, also of a world whose
exploration was stopped half way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.chunks import chunk_stages, read_arrays
from ..core.errors import InputError
from ..core.frames import expect_rigid
from ..core.manifest import StageRecord
from ..core.scaling import scaled_poses, scaled_view
from ..core.splats import GaussianCloud
from ..core.store import load_view
from ..core.views import RgbdView
from ..core.world import World
from ..importing.posed_pictures import read_video_frames
from ..reconstruction.splat_render import render_splats

LONG_SIDE_PX = 480
"""Splats are drawn by the CPU, in well under a second at this size."""
BACKGROUND = (0.6, 0.7, 0.85)
_VIEWS = "memory/views/"


@dataclass(frozen=True, kw_only=True)
class ReelFrame:
    """One frame of the painted video."""

    rgb_u8: np.ndarray
    """[H, W, 3]."""
    camera: PinholeCamera
    T_world_cam: np.ndarray
    """[4, 4], in metres."""
    text: str
    """What it belongs to."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a frame is kept."""

    text: str
    view: str = ""
    """File of a remembered view; empty of a film's frame."""
    film: int = -1
    """Index of the film."""
    number: int = 0
    """Of the frame in the film."""


@dataclass(frozen=True, kw_only=True)
class _Film:
    """One filmed chunk."""

    file: str
    Ts_world_cam: np.ndarray
    """[T, 4, 4], in metres."""
    views: tuple[str, ...]
    """Files of its frames that are remembered, which know their cameras."""


class Reel:
    """All frames that a world was painted in; nothing is read before it is asked for."""

    def __init__(self, world: World) -> None:
        """Raises `InputError` for files that are damaged."""
        self._world = world
        self._films: list[_Film] = []
        self._lenses: dict[int, np.ndarray] = {}
        self._places: list[_Place] = []
        stages = world.manifest.stages
        numbered = chunk_stages(stages)
        for number, name in numbered:
            self._add_chunk(number, stages[name])
        if not numbered:
            self._add_looks(tuple(world.manifest.files()), "picture")

    def __len__(self) -> int:
        return len(self._places)

    def frame(self, number: int) -> ReelFrame:
        """One frame; raises `InputError` for one that does not exist, and for damaged files."""
        if not 0 <= number < len(self._places):
            raise InputError(f"frame {number} does not exist; the painted video has {len(self._places)}")
        place = self._places[number]
        if place.view:
            view = self._view(place.view)
            return ReelFrame(rgb_u8=view.rgb_u8, camera=view.camera, T_world_cam=view.T_world_cam, text=place.text)
        film = self._films[place.film]
        rgb = read_video_frames(self._world.path(film.file), [place.number])[place.number]
        height_px, width_px = rgb.shape[:2]
        fx, fy, cx, cy = self._lens(place.film)[place.number]
        camera = PinholeCamera(
            width_px=width_px,
            height_px=height_px,
            fx_px=fx * width_px,
            fy_px=fy * height_px,
            cx_px=cx * width_px,
            cy_px=cy * height_px,
        )
        return ReelFrame(rgb_u8=rgb, camera=camera, T_world_cam=film.Ts_world_cam[place.number], text=place.text)

    def _add_chunk(self, number: int, record: StageRecord) -> None:
        film = f"memory/chunks/{number:03d}.mp4"
        views = tuple(sorted(name for name in record.files if name.startswith(_VIEWS)))
        if film not in record.files or not views:
            self._add_looks(views, f"chunk {number + 1}")
            return
        arrays = read_arrays(self._world.path(f"memory/chunks/{number:03d}.npz"))
        poses = arrays.get("Ts_world_path", np.zeros(0))
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise InputError(f"the film of chunk {number + 1} has no cameras; repair the world: {self._world.folder}")
        rigid = np.stack([expect_rigid("Ts_world_path", T) for T in poses]) if len(poses) else poses
        Ts = scaled_poses(rigid, self._world.manifest.metres_per_unit)
        if not number:  # the photo, from which the first film goes on
            self._add_looks(views[:1], "photo")
        self._films.append(_Film(file=film, Ts_world_cam=Ts, views=views[0 if number else 1 :] or views))
        text = f"chunk {number + 1}, film"
        self._places += [_Place(text=text, film=len(self._films) - 1, number=k) for k in range(len(Ts))]

    def _add_looks(self, files: tuple[str, ...], text: str) -> None:
        self._places += [_Place(text=text, view=name) for name in files if name.startswith(_VIEWS)]

    def _view(self, name: str) -> RgbdView:
        return scaled_view(load_view(self._world.path(name)), self._world.manifest.metres_per_unit)

    def _lens(self, index: int) -> np.ndarray:
        """[T, 4] focal lengths and centre of a film's frames, in widths and heights of the picture.

        Only remembered frames know them, one in eight at least; between those a zoom is even.
        """
        if index not in self._lenses:
            film = self._films[index]
            known: dict[int, tuple[float, ...]] = {}
            for name in film.views:
                view = self._view(name)
                lens, (w, h) = view.camera, (view.camera.width_px, view.camera.height_px)
                at = int(np.abs(film.Ts_world_cam - view.T_world_cam).sum((1, 2)).argmin())
                known[at] = (lens.fx_px / w, lens.fy_px / h, lens.cx_px / w, lens.cy_px / h)
            at = sorted(known)
            values = np.array([known[k] for k in at])
            frames = np.arange(len(film.Ts_world_cam))
            self._lenses[index] = np.stack([np.interp(frames, at, column) for column in values.T], 1)
        return self._lenses[index]


def splat_picture(cloud: GaussianCloud, frame: ReelFrame) -> np.ndarray:
    """[H, W, 3] uint8: what splats show from the camera of a frame."""
    camera = frame.camera
    scale = min(1.0, LONG_SIDE_PX / max(camera.width_px, camera.height_px))
    size = (max(1, round(camera.width_px * scale)), max(1, round(camera.height_px * scale)))
    return render_splats(cloud, camera.resized(*size), frame.T_world_cam).rgb_u8(BACKGROUND)

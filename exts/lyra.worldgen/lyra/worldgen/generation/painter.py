"""What a painter is: it fills the pixels that nobody has seen yet and leaves the known ones alone.

`Painter` completes frame after frame. `ChunkPainter` paints a whole chunk of a film at once and wants to know how the
film went so far; what it paints is fitted into the world by `film_painting`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..core.camera import PinholeCamera
from ..core.config import WorldConfig
from ..core.optional import Registry
from ..core.progress import SupportsProgress
from ..core.views import Photo, PhotoGeometry
from .chunk_inputs import RetrievedView

PAINTERS = Registry(
    "painter",
    {
        "patch": "lyra.worldgen.generation.painter_patch:PatchPainter",
        "inpaint": "lyra.worldgen.generation.painter_inpaint:InpaintPainter",
        "lyra2": "lyra.worldgen.generation.painter_lyra2:Lyra2Painter",
    },
)


@dataclass(frozen=True, kw_only=True)
class RingPanorama:
    """A full turn around the first camera, painted once; rows are elevation, columns azimuth, both equidistant."""

    rgb_u8: np.ndarray
    """[R, C, 3]."""
    from_photo: np.ndarray
    """[R, C] bool: resampled from the photo, not painted."""
    elevation_rad: np.ndarray
    """[R] row centres, descending (row 0 looks highest)."""
    azimuth_rad: np.ndarray
    """[C] world azimuth of column centres, descending (moving right in the picture turns right)."""
    source_azimuth_rad: np.ndarray
    """[C] azimuth inside the photo whose content this column shows; identity inside the photo."""
    mirrored: np.ndarray
    """[C] bool: the column is part of a mirrored copy."""
    boundary_m: np.ndarray | None = None
    """[C] distance of the wall that each column was painted for; None where copied columns keep their distance."""
    stretch: np.ndarray | None = None
    """[C] with `boundary_m`: what stands before the wall is laid this many times farther away than it was seen."""


@dataclass(frozen=True, kw_only=True)
class PaintHint:
    """Frames of one chunk with what is already known about them."""

    rgb_u8: np.ndarray
    """[T, H, W, 3]; undefined where unknown."""
    known: np.ndarray
    """[T, H, W] bool."""
    depth_z_m: np.ndarray | None = None
    """[T, H, W] float32 of the proxy world."""
    labels: np.ndarray | None = None
    """[T, H, W] uint8 `Label` of the proxy world: what the missing pixels are going to be part of."""
    camera: PinholeCamera | None = None
    """None for a flat picture such as a floor seen straight from above: then rows mean nothing."""
    Ts_world_cam: np.ndarray | None = None
    """[T, 4, 4]."""
    prompt: str = ""
    source_rgb_u8: np.ndarray | None = None
    """[h, w, 3] picture to paint from at the same scale; the photo itself when None."""
    source_ok: np.ndarray | None = None
    """[h, w] bool: which of its pixels may be used."""
    source_labels: np.ndarray | None = None
    """[h, w] uint8 `Label`."""


class Painter(Protocol):
    """A generative model behind a seam.

    A painter of foreign weights also has `model`, the weights' own name, and `free()`, which lets go of them.
    """

    name: str
    weights_licence: str
    """SPDX id or short text; goes into the world's provenance."""

    @classmethod
    def from_config(cls, config: WorldConfig) -> Painter:
        """The painter as the configuration wants it; raises when its weights cannot be used."""
        ...

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress,
        ring: RingPanorama | None = None,
    ) -> RingPanorama | None:
        """Look at the photo once before the first chunk; a ring if this painter paints one, else None.

        `ring` is the one that the same call returned in an earlier run; then it is not painted again.
        """
        ...

    def paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        """Complete frames [T, H, W, 3] uint8; pixels with `hint.known` come back bit for bit."""
        ...


@dataclass(frozen=True, kw_only=True)
class FilmFormat:
    """What a painter of whole chunks paints: so many frames of one size."""

    frames: int
    """Frames of a chunk; it paints no fewer and no more."""
    width_px: int
    height_px: int
    retrieved_views: int
    """Most remembered views that it can be shown for a chunk."""
    lookback_chunks: int | None = None
    """So many of the newest chunks, and the first frame, decide the painter's memory of a film; all when None."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """The cameras of one chunk of a film."""

    Ts_world_cam: np.ndarray
    """[T, 4, 4]."""
    cameras: tuple[PinholeCamera, ...]
    """[T], all of the format's size."""


@dataclass(frozen=True, kw_only=True)
class ChunkHint:
    """What the world knows that helps to paint a chunk."""

    last_depth_z_m: np.ndarray
    """[H, W] of the frame before the chunk, 0 where nothing is."""
    retrieved: tuple[RetrievedView, ...]
    """Remembered views that cover most of the chunk's last frame, best last; poses are world to camera."""
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A chunk as the painter sees it, before the world lays over it what it remembers."""

    frames: np.ndarray
    """[T, H, W, 3] float32, black 0, white 255, not clipped."""
    kept: Mapping[str, np.ndarray]
    """Small arrays from which `ChunkPainter.redraft` makes the same draft again."""
    after: Any
    """What the painter itself wants to know when the draft is accepted."""
    facts: Mapping[str, Any]
    """JSON values for the manifest."""


@runtime_checkable
class ChunkPainter(Protocol):
    """A generative model that paints a film chunk by chunk.

    Its memory of the film is a value that it is given and returns, so that a film can be taken up at any chunk.
    """

    name: str
    weights_licence: str
    film: FilmFormat
    keep_known: bool
    """Whether pixels that the world remembers replace what the model painted there."""
    info: Mapping[str, Any]
    """JSON values for the world's provenance."""

    @classmethod
    def from_config(cls, config: WorldConfig) -> ChunkPainter:
        """As `Painter.from_config`."""
        ...

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress,
        ring: RingPanorama | None = None,
    ) -> RingPanorama | None:
        """As `Painter.prepare`."""
        ...

    def begin(self, rgb: np.ndarray, camera: PinholeCamera, T_world_cam: np.ndarray) -> Any:
        """The memory of a film that begins with a frame [H, W, 3] float32 0..255."""
        ...

    def draft(self, memory: Any, shot: Shot, hint: ChunkHint, *, seed: int, step: Callable[[int, int], None]) -> Draft:
        """Paint the next chunk; `step(done, total)` is told how far it is."""
        ...

    def redraft(self, memory: Any, kept: Mapping[str, np.ndarray]) -> Draft:
        """The draft that `draft` made from this memory, from what it kept."""
        ...

    def accept(self, memory: Any, shot: Shot, draft: Draft, frames: np.ndarray) -> Any:
        """The memory after a chunk whose frames became [T, H, W, 3] float32 0..255."""
        ...

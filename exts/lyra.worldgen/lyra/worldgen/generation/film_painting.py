"""How what a painter of whole chunks draws becomes part of the world.

For each chunk the painter is shown the views that cover most of it (our notes on Lyra 2.0, 2.3) and drafts all of its
frames. The world then goes through them, key frames first, as it does with any painter: what memory knows replaces the
draft, the rest of the draft is new and is remembered, depth and labels are the proxy world's. What came out is what the
painter's own memory of the film goes on with.

That memory is large and is not kept. It follows from the photo and the drafts, so a run that goes on makes it again: by
the same steps, with the painter decoding what it kept instead of sampling, over as many chunks as it looks back.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.chunks import Chunk
from ..core.errors import BackendError, InputError
from ..core.frames import invert_rigid
from ..core.schema import MAX_SEED
from ..core.video import write_video
from ..core.views import RgbdView
from .cache import SpatialCache
from .cache_fleeting import FleetingCache
from .chunk_inputs import RetrievedView
from .chunk_plan import ChunkPlan, plan_to_facts, worth_keeping
from .glimpse import recall_view
from .painter import ChunkHint, ChunkPainter, Draft, Shot
from .retrieval import cache_points
from .retrieval_index import RetrievalIndex
from .scene import Scene
from .warp import reference_K

log = logging.getLogger(__name__)

FILM_FPS = 16.0
"""Of a chunk's frames, as upstream writes them."""
_OURS = ("film_Ts_world_cam", "film_intrinsics", "film_keys")
"""Arrays of a chunk that say where its frames were taken; the rest is the painter's."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A draft after the world has laid over it what it remembers."""

    frames: np.ndarray
    """[T, H, W, 3] float32, black 0, white 255; the draft's own pixels are not clipped."""
    views: tuple[RgbdView, ...]
    """One a frame, in the order of time; those that are remembered have the ids under which they are."""
    remembered: tuple[RgbdView, ...]
    """In the order in which they were."""
    painted_px: int
    """Pixels that the painter made."""
    differing: int = 0
    """Remembered views that an earlier run has made differently."""


@dataclass(frozen=True, kw_only=True)
class _Past:
    """What is needed of a chunk that an earlier run painted."""

    view_ids: tuple[int, ...]
    """Of the views that it added, the photo's apart; those of key frames come first."""
    key_count: int
    arrays: Mapping[str, np.ndarray]
    """Empty where the chunk is too old to matter to the painter."""


class FilmPainting:
    """A film that grows with the world.

    Args:
        painter: paints it.
        scene: the proxy world.
        photo_view: the first remembered view; the film begins with what it shows.
        load_view: reads a view of a finished chunk.
        remember: without memory a frame knows what the one before it shows and nothing else.
    """

    def __init__(
        self,
        painter: ChunkPainter,
        scene: Scene,
        photo_view: RgbdView,
        *,
        load_view: Callable[[int], RgbdView],
        remember: bool,
    ) -> None:
        self._painter, self._scene, self._photo_view = painter, scene, photo_view
        self._load_view, self._remember = load_view, remember
        self._found: list[_Past] = []
        self._memory: Any = None
        self._last_depth_z_m = np.zeros((0, 0), np.float32)
        self._sights = RetrievalIndex()

    def found(self, chunk: Chunk) -> None:
        """Take note of a chunk that was painted by an earlier run."""
        assert self._memory is None, "finished chunks come before those that are painted"
        _, keys = _shot_from_arrays(chunk.arrays)
        ids = tuple(view.view_id for view in chunk.views if view.view_id != self._photo_view.view_id)
        self._found.append(_Past(view_ids=ids, key_count=int(keys.sum()), arrays=chunk.arrays))
        lookback = self._painter.film.lookback_chunks
        # The first chunk's arrays stay: they say which lens the film began with.
        if lookback is not None and (old := len(self._found) - 1 - lookback) > 0:
            self._found[old] = replace(self._found[old], arrays={})

    def paint_chunk(
        self,
        cache: SpatialCache,
        plan: ChunkPlan,
        index: int,
        *,
        seed: int,
        note: Callable[[int, str], None],
        on_frame: Callable[[int, int, RgbdView], None] | None = None,
    ) -> Chunk:
        """Paint the frames of a chunk and remember them.

        Args:
            cache: what the world remembers; takes the new views.
            plan: as many frames as the painter's format has.
            index: number of the chunk.
            seed: of the world; every chunk starts from noise of its own.
            note: told how many frames are as good as painted, and what is going on.
            on_frame: told of every frame: number of its chunk, its number there, and its view.

        Raises:
            BackendError: the painter failed or returned the wrong shape.
            InputError: an earlier chunk lacks what the painter kept of it.
        """
        began = time.monotonic()
        film, total = self._painter.film, len(plan.Ts_world_cam)
        if total != film.frames:
            raise InputError(f"the chunk has {total} frames; painter '{self._painter.name}' paints {film.frames}")
        shot = Shot(Ts_world_cam=plan.Ts_world_cam, cameras=plan.cameras)
        if self._memory is None:
            self._take_up(shot, note)
        text = f"chunk {index + 1}"
        hint = ChunkHint(
            last_depth_z_m=self._last_depth_z_m,
            retrieved=self._retrieve(cache, shot),
            prompt=plan.prompt,
        )
        draft = self._painter.draft(
            self._memory,
            shot,
            hint,
            seed=(seed + index) % (MAX_SEED + 1),
            step=lambda done, of: note(round(0.8 * total * done / of), f"{text}, step {done} of {of}"),
        )
        settled = self._settle(
            cache, shot, plan.keys, draft, lambda k: note(round(total * (0.8 + 0.2 * k / total)), f"{text}, memory")
        )
        self._memory = self._accept(self._memory, shot, plan.keys, draft, settled)
        note(total, text)
        if on_frame is not None:
            for t, view in enumerate(settled.views):
                on_frame(index, t, view)
        added = settled.remembered if index else (cache.view(0), *settled.remembered)
        return Chunk(
            views=added,
            Ts_world_path=plan.Ts_world_path,
            facts={
                **plan_to_facts(plan),
                **draft.facts,
                "views": [view.view_id for view in added],
                "retrieved": [view.frame_id for view in hint.retrieved],
                "painted_px": settled.painted_px,
            },
            arrays={**draft.kept, **_shot_to_arrays(shot, plan.keys)},
            film_mp4=encoded_film([view.rgb_u8 for view in settled.views]),
            seconds=time.monotonic() - began,
        )

    def _take_up(self, shot: Shot, note: Callable[[int, str], None]) -> None:
        """Begin the film, and go through the chunks that were painted before."""
        past = self._found
        first_camera = (_shot_from_arrays(past[0].arrays)[0] if past else shot).cameras[0]
        rgb, self._last_depth_z_m = seen_through(self._photo_view, first_camera)
        memory = self._painter.begin(rgb, first_camera, self._photo_view.T_world_cam)
        self._see(self._photo_view)
        cache = SpatialCache() if self._remember else FleetingCache()
        cache.add(self._photo_view)
        lookback, settled = self._painter.film.lookback_chunks, None
        skipped = 0 if lookback is None else max(0, len(past) - lookback)
        for number, chunk in enumerate(past):
            note(0, f"taking up the film, chunk {number + 1} of {len(past)}")
            if number < skipped:
                for k, view_id in enumerate(chunk.view_ids):
                    view = self._load_view(view_id)
                    cache.add(view)
                    if k < chunk.key_count:
                        self._see(view)
            else:
                earlier, keys = _shot_from_arrays(chunk.arrays)
                kept = {name: a for name, a in chunk.arrays.items() if name not in _OURS}
                draft = self._painter.redraft(memory, kept)
                settled = self._settle(cache, earlier, keys, draft, lambda k: None, stored=set(chunk.view_ids))
                memory = self._accept(memory, earlier, keys, draft, settled)
            cache.may_release(chunk.view_ids, self._load_view)
        # Before the newest chunk a painter that looks back only so far has not warmed up.
        if settled is not None and settled.differing:
            log.warning(
                "%d of %d views of the newest chunk came out differently when the film was taken up (another machine "
                "or version?); the world keeps the old ones",
                settled.differing,
                len(settled.remembered),
            )
        self._memory = memory
        self._found = []

    def _settle(
        self,
        cache: SpatialCache,
        shot: Shot,
        keys: np.ndarray,
        draft: Draft,
        settled: Callable[[int], None],
        *,
        stored: Set[int] = frozenset(),
    ) -> Settled:
        """Lay memory over a draft, frame by frame; `stored` are views that an earlier run made of the same draft."""
        total = len(keys)
        _expect_draft(draft, (total, self._painter.film.height_px, self._painter.film.width_px, 3), self._painter.name)
        # What is forgotten at once cannot be looked up from a later frame.
        order = np.argsort(~keys, kind="stable") if self._remember else np.arange(total)
        frames = draft.frames.copy()
        views: list[RgbdView | None] = [None] * total
        remembered: list[RgbdView] = []
        painted_px, differing = 0, 0
        for done, t in enumerate(order):
            settled(done)
            view, known = self._view(cache, shot.cameras[t], shot.Ts_world_cam[t], draft.frames[t])
            frames[t][known] = view.rgb_u8[known]
            painted = int((view.valid & ~known).sum())
            new = self._painter.keep_known and painted >= worth_keeping(view)
            if keys[t] or new or not self._remember:
                earlier = self._load_view(view.view_id) if view.view_id in stored else view
                if np.array_equal(earlier.T_world_cam, view.T_world_cam):
                    differing += not np.array_equal(earlier.rgb_u8, view.rgb_u8)
                    view = earlier
                cache.add(view)
                remembered.append(view)
            painted_px += painted
            views[t] = view
        return Settled(
            frames=frames,
            views=tuple(view for view in views if view is not None),
            remembered=tuple(remembered),
            painted_px=painted_px,
            differing=differing,
        )

    def _view(
        self, cache: SpatialCache, camera: PinholeCamera, T_world_cam: np.ndarray, drafted: np.ndarray
    ) -> tuple[RgbdView, np.ndarray]:
        """One frame as a view of the world, and [H, W] bool where it shows what was known before."""
        glimpse = recall_view(self._scene, cache, camera, T_world_cam, prepared=self._remember)
        keep = self._painter.keep_known
        known = glimpse.known if keep else np.zeros_like(glimpse.known)
        rgb = np.clip(drafted + 0.5, 0, 255).astype(np.uint8)
        rgb[known] = glimpse.picture_u8[known]
        shown = glimpse.remembered & known
        view = glimpse.painted(rgb, shown, view_id=cache.next_id, camera=camera, T_world_cam=T_world_cam)
        return view, known

    def _accept(self, memory: Any, shot: Shot, keys: np.ndarray, draft: Draft, settled: Settled) -> Any:
        """The painter's memory after a chunk; its key frames can be shown to the painter from now on."""
        memory = self._painter.accept(memory, shot, draft, settled.frames)
        last = settled.views[-1]
        self._last_depth_z_m = np.where(last.valid, last.depth_z_m, 0).astype(np.float32)
        if self._remember:
            for t in np.flatnonzero(keys):
                self._see(settled.views[t])
        return memory

    def _see(self, view: RgbdView) -> None:
        """Make a view one that can be shown to the painter: all of it, not only the pixels that it owns."""
        self._sights.add(
            cache_points(
                view.view_id,
                np.where(view.valid, view.depth_z_m, 0),
                invert_rigid(view.T_world_cam),
                reference_K(view.camera),
                keep=view.valid,
            )
        )

    def _retrieve(self, cache: SpatialCache, shot: Shot) -> tuple[RetrievedView, ...]:
        """The views that cover most of the chunk's last frame beyond what the newest one covers, best last."""
        if not self._remember:
            return ()
        film, camera = self._painter.film, shot.cameras[-1]
        ids = self._sights.retrieve(
            invert_rigid(shot.Ts_world_cam[-1])[None],
            reference_K(camera),
            (film.height_px, film.width_px),
            count=film.retrieved_views,
        )
        shown = []
        for view_id in ids:
            view = cache.view(view_id)
            rgb, depth = seen_through(view, camera)
            shown.append(
                RetrievedView(
                    frame_id=view_id,
                    rgb=np.ascontiguousarray(np.moveaxis(rgb, -1, 0)) / np.float32(127.5) - 1,
                    depth_z=depth,
                    w2c=invert_rigid(view.T_world_cam),
                    K_px=reference_K(camera),
                )
            )
        return tuple(shown)


def encoded_film(frames_u8: Sequence[np.ndarray]) -> bytes:
    """Frames [H, W, 3] as the bytes of an MPEG-4 film."""
    with tempfile.TemporaryDirectory(prefix="lyra-film-") as folder:
        path = Path(folder) / "chunk.mp4"
        height, width = frames_u8[0].shape[:2]
        write_video(path, frames_u8, size_px=(width, height), fps=FILM_FPS)
        return path.read_bytes()


def seen_through(view: RgbdView, camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """What a view shows through another lens at the same pose.

    Returns:
        rgb [H, W, 3] float32 0..255, its border repeated where the lens sees more, and depth_z_m [H, W] float32, 0
        where the view has none.
    """
    import cv2

    depth_z_m = np.where(view.valid, view.depth_z_m, 0).astype(np.float32)
    if view.camera == camera:
        return view.rgb_u8.astype(np.float32), depth_z_m
    rgb, lens = view.rgb_u8.astype(np.float32), view.camera
    shrink = max(camera.fx_px / lens.fx_px, camera.fy_px / lens.fy_px)
    if shrink < 1:  # averaged first, so that nothing fine flickers
        lens = lens.resized(max(1, round(lens.width_px * shrink)), max(1, round(lens.height_px * shrink)))
        rgb = cv2.resize(rgb, (lens.width_px, lens.height_px), interpolation=cv2.INTER_AREA)
    u, v = camera.pixel_grid()
    x, y = (u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px
    rgb = cv2.remap(rgb, *_places(lens, x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    depth = cv2.remap(
        depth_z_m, *_places(view.camera, x, y), cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return rgb, depth


def _places(camera: PinholeCamera, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [H, W] of rays with unit z, counted from the first pixel's centre."""
    return (
        (x * camera.fx_px + camera.cx_px - 0.5).astype(np.float32),
        (y * camera.fy_px + camera.cy_px - 0.5).astype(np.float32),
    )


def _expect_draft(draft: Draft, shape: tuple[int, ...], name: str) -> None:
    if draft.frames.shape != shape:
        raise BackendError(f"painter '{name}' returned frames of shape {draft.frames.shape}; expected {shape}")
    if not np.isfinite(draft.frames).all():
        raise BackendError(f"painter '{name}' returned NaN or infinite pixels; check its weights")
    if clash := set(_OURS) & set(draft.kept):
        raise BackendError(f"painter '{name}' keeps arrays under reserved names: {', '.join(sorted(clash))}")


def _shot_to_arrays(shot: Shot, keys: np.ndarray) -> dict[str, np.ndarray]:
    lenses = [(c.width_px, c.height_px, c.fx_px, c.fy_px, c.cx_px, c.cy_px) for c in shot.cameras]
    return dict(zip(_OURS, (shot.Ts_world_cam, np.array(lenses, float), keys), strict=True))


def _shot_from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[Shot, np.ndarray]:
    if missing := [name for name in _OURS if name not in arrays]:
        raise InputError(
            f"an earlier chunk does not hold {missing[0]}, without which its film cannot go on; undo it, or generate "
            "the world again"
        )
    Ts, lenses, keys = (arrays[name] for name in _OURS)
    cameras = tuple(
        PinholeCamera(width_px=int(w), height_px=int(h), fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)
        for w, h, fx, fy, cx, cy in lenses.tolist()
    )
    return Shot(Ts_world_cam=Ts, cameras=cameras), keys.astype(bool)

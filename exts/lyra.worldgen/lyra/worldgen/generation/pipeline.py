"""The cached diffusion pipeline: retrieve, recall, paint, take depth from the proxy world, remember."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.camera import PinholeCamera
from ..core.chunks import Chunk, ChunkStore, MemoryChunkStore
from ..core.config import GenerationConfig
from ..core.errors import BackendError
from ..core.files import sha256_json
from ..core.frames import invert_rigid
from ..core.journey import Leg, leg_to_json
from ..core.progress import SILENT, SupportsProgress
from ..core.views import SOURCE_PHOTO, Photo, PhotoGeometry, RgbdView, WorldViews
from .cache import SpatialCache
from .cache_fleeting import FleetingCache
from .chunk_plan import ChunkPlan, Planner, plan_to_facts, worth_keeping
from .depth_judge import DepthJudge, Judgement
from .explore_planner import plan_world
from .film_painting import FilmPainting, encoded_film
from .glimpse import Glimpse, recall_view
from .painter import ChunkPainter, Painter, PaintHint
from .paths import Surrounding, explore_options, plan_leg
from .proxy import build_proxy, clear_start, full_turn
from .rooms import build_rooms_proxy
from .scene import Scene, Surroundings, planes_from_arrays, planes_to_arrays, ring_from_arrays, ring_to_arrays
from .scene_planes import paint_planes
from .seeds import derived_seed
from .warp import forward_warp, reference_K

PREPARED = "prepared"
"""Under this name the store keeps what the painter made before the first chunk."""


def explore(
    photo: Photo,
    geometry: PhotoGeometry,
    painter: Painter | ChunkPainter,
    cfg: GenerationConfig,
    *,
    seed: int,
    progress: SupportsProgress = SILENT,
    store: ChunkStore | None = None,
    journey: Sequence[Leg] = (),
    judge: DepthJudge | None = None,
    on_frame: Callable[[int, int, RgbdView], None] | None = None,
) -> WorldViews:
    """Grow a persistent world from a photo whose geometry is known.

    Args:
        photo: upright picture.
        geometry: its camera, depth, labels and layout.
        painter: fills what nobody has seen, frame by frame or chunk by chunk.
        cfg: path, prompt and sizes.
        seed: every random stream derives from it.
        progress: one step per painted frame.
        store: finished chunks are kept there and found again.
        journey: legs to explore; the path of `cfg` when empty.
        judge: frames that contradict the known geometry are painted again with another seed.
        on_frame: told of every frame that is painted: number of its chunk, its number there, and its view.

    Raises:
        BackendError: the painter changed known pixels or returned the wrong shape.
        ConfigError: unknown path.
        InputError: a trajectory file is not in the store.
        Cancelled: the user stopped.
    """
    pipeline = WorldPipeline(painter=painter, cfg=cfg, judge=judge, on_frame=on_frame)
    return pipeline(photo, geometry, seed=seed, progress=progress, store=store, journey=journey)


@dataclass(frozen=True, kw_only=True)
class _Painted:
    """One finished frame."""

    view: RgbdView
    painted_px: int
    """Pixels that the painter made."""
    attempts: int
    conflict: float
    """Share of them that contradicts the known geometry, where a depth model can tell."""


class WorldPipeline:
    """The steps of exploration; each is a method, and `__call__` is their order.

    Args:
        painter: fills what nobody has seen.
        cfg: path, prompt and sizes.
        remember: without memory a frame knows what the one before it shows and nothing else, not even what the painter
            prepared. For measuring what memory is worth.
        judge: says which frames to paint again; none when None.
        on_frame: told of every frame that is painted: number of its chunk, its number there, and its view.
    """

    def __init__(
        self,
        *,
        painter: Painter | ChunkPainter,
        cfg: GenerationConfig,
        remember: bool = True,
        judge: DepthJudge | None = None,
        on_frame: Callable[[int, int, RgbdView], None] | None = None,
    ) -> None:
        self.judge = judge
        self.painter = painter
        self.cfg = cfg
        self.remember = remember
        self.on_frame = on_frame

    def __call__(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress = SILENT,
        store: ChunkStore | None = None,
        journey: Sequence[Leg] = (),
    ) -> WorldViews:
        store = MemoryChunkStore() if store is None else store
        cache = SpatialCache() if self.remember else FleetingCache()
        legs = tuple(journey) or (Leg(path=self.cfg.path, prompt=self.cfg.prompt, pose_scale=self.cfg.pose_scale),)
        scene = self.prepare(photo, geometry, cache, legs[0], seed=seed, progress=progress, store=store)
        film = None
        if isinstance(self.painter, ChunkPainter):
            film = FilmPainting(self.painter, scene, cache.view(0), load_view=store.load_view, remember=self.remember)
        paths: list[np.ndarray] = []
        index, key, done = 0, "", 0
        T_world_last = geometry.T_world_cam
        around: Surrounding | None = None
        begins: dict[int, int] = {}
        for number, leg in enumerate(legs):
            if around is None or leg.first == 0:
                begins = {}
                around = Surrounding(
                    geometry=geometry,
                    scene=scene,
                    view_long_side_px=self.cfg.view_long_side_px,
                    T_world_begin=T_world_last,
                    is_first=index == 0,
                    load_file=lambda name: store.load_arrays(f"path-{name}", name),
                    views=lambda: cache.views,
                    views_before=lambda k, begins=begins: begins.get(k, len(cache)),
                    film=self.painter.film if isinstance(self.painter, ChunkPainter) else None,
                )
            planner: Planner | None = None
            plan: ChunkPlan | None = None
            for k in range(leg.first, 2**31 if leg.end is None else leg.end):
                key = sha256_json([key, {**leg_to_json(leg), "chunks": None}, k])
                begins[k] = len(cache)
                chunk = store.load_chunk(index, key)
                if chunk is not None:
                    for view in chunk.views:
                        if view.view_id >= cache.next_id:
                            cache.add(view)
                    if film is not None:
                        film.found(chunk)
                else:
                    planner = planner or plan_leg(leg, around)
                    plan = plan or planner.plan(k)
                    if plan is None:
                        break
                    frames = _Frames(progress, done, done + planner.frames_from(k))
                    chunk_seed = seed if leg.seed is None else leg.seed
                    if film is None:
                        chunk = self.paint_chunk(scene, cache, plan, index, seed=chunk_seed, progress=frames)
                    else:
                        chunk = film.paint_chunk(
                            cache,
                            dataclasses.replace(plan, prompt=plan.prompt or self.cfg.prompt),
                            index,
                            seed=chunk_seed,
                            note=frames.painted,
                            on_frame=self.on_frame,
                        )
                    plan = planner.plan(k + 1)
                    facts = {
                        "leg": number,
                        "path": leg.path,
                        **chunk.facts,
                        **planner.facts(),
                        "last": plan is None,
                    }
                    chunk = dataclasses.replace(chunk, facts=facts)
                    store.save_chunk(index, key, chunk)
                cache.may_release([view.view_id for view in chunk.views], store.load_view)
                done += int(chunk.facts.get("frames", 0))
                paths.append(chunk.Ts_world_path)
                if len(chunk.Ts_world_path):
                    T_world_last = chunk.Ts_world_path[-1]
                index += 1
                if chunk.facts.get("last"):
                    break
        store.keep_chunks(index)
        return WorldViews(
            views=cache.views,
            proxy=scene.mesh,
            ceiling_m=scene.layout.ceiling_m,
            Ts_world_path=np.concatenate([np.zeros((0, 4, 4)), *paths]),
            metrics=self.measure(geometry, scene, cache),
        )

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        cache: SpatialCache,
        first: Leg,
        *,
        seed: int,
        progress: SupportsProgress,
        store: ChunkStore,
    ) -> Scene:
        """The proxy world, the photo as its first memory, and what the painter makes before the first chunk."""
        arrays = store.load_arrays(PREPARED, PREPARED)
        ring = None if arrays is None else ring_from_arrays(arrays)
        ring = self.painter.prepare(photo, geometry, seed=seed, progress=progress, ring=ring)
        layout = clear_start(full_turn(clear_start(geometry.layout), ring))
        options = explore_options(first.path)
        if options is None:
            scene = Scene(layout, build_proxy(layout), ring)
        else:
            plan = plan_world(layout, geometry, options, seed=seed)
            scene = Scene(layout, build_rooms_proxy(plan), ring, plan)
        cache.add(self.seed_view(photo, geometry, scene))
        if arrays is None:
            paint_planes(photo, geometry, scene, cache, seed=seed)
            store.save_arrays(PREPARED, PREPARED, {**ring_to_arrays(ring), **planes_to_arrays(scene.planes)})
        else:
            scene.planes = planes_from_arrays(arrays)
        return scene

    def seed_view(self, photo: Photo, geometry: PhotoGeometry, scene: Scene) -> RgbdView:
        """The photo as the first remembered view; its depth is the proxy world's, so that no point has two places."""
        around = scene.surroundings(geometry.camera, geometry.T_world_cam)
        return RgbdView(
            view_id=0,
            camera=geometry.camera,
            T_world_cam=geometry.T_world_cam,
            rgb_u8=photo.rgb_u8,
            depth_z_m=around.depth_z_m,
            valid=around.hit,
            source=np.where(around.hit, SOURCE_PHOTO, 0).astype(np.uint8),
            labels=around.labels,
        )

    def paint_chunk(
        self,
        scene: Scene,
        cache: SpatialCache,
        plan: ChunkPlan,
        index: int,
        *,
        seed: int,
        progress: _Frames,
    ) -> Chunk:
        """Paint the frames of a chunk and remember them: key frames first, so that those between only look back."""
        began = time.monotonic()
        total = len(plan.Ts_world_cam)
        # What is forgotten at once cannot be painted ahead.
        order = np.argsort(~plan.keys, kind="stable") if self.remember else np.arange(total)
        frames: list[np.ndarray] = [np.zeros(0)] * total
        added = [] if index else [cache.view(0)]
        fresh, again, worst = 0, 0, 0.0
        for done, t in enumerate(order):
            progress.painted(done, f"chunk {index + 1}, frame {done + 1} of {total}")
            painted = self.paint_view(
                scene,
                cache,
                plan.cameras[t],
                plan.Ts_world_cam[t],
                seed=derived_seed(seed, 1000, index, int(t)),
                plan=plan,
            )
            view, painted_px = painted.view, painted.painted_px
            again, worst = again + painted.attempts - 1, max(worst, painted.conflict)
            # What ring and planes show is remembered there; only what the painter made now would be lost.
            if plan.keys[t] or painted_px >= worth_keeping(view) or not self.remember:
                cache.add(view)
                added.append(view)
            fresh += painted_px
            frames[t] = view.rgb_u8
            if self.on_frame is not None:
                self.on_frame(index, int(t), view)
        progress.painted(total, f"chunk {index + 1}")
        judged = {} if self.judge is None else {"painted_again": again, "worst_conflict": round(worst, 4)}
        return Chunk(
            views=tuple(added),
            Ts_world_path=plan.Ts_world_path,
            facts={**plan_to_facts(plan), "views": [v.view_id for v in added], "painted_px": fresh, **judged},
            film_mp4=encoded_film(frames) if plan.filmed else b"",
            seconds=time.monotonic() - began,
        )

    def paint_view(
        self,
        scene: Scene,
        cache: SpatialCache,
        camera: PinholeCamera,
        T_world_cam: np.ndarray,
        *,
        seed: int,
        plan: ChunkPlan,
    ) -> _Painted:
        """One new view: depth from the proxy, colour from memory, ring and planes, the rest from the painter.

        What a depth model calls a contradiction to the known geometry is painted again, and the best attempt taken.
        """
        glimpse = self.recall_view(scene, cache, camera, T_world_cam)
        around = glimpse.surroundings
        known = glimpse.known | ~around.hit
        hint = PaintHint(
            rgb_u8=glimpse.picture_u8[None],
            known=known[None],
            depth_z_m=around.depth_z_m[None],
            labels=around.labels[None],
            camera=camera,
            Ts_world_cam=T_world_cam[None],
            prompt=plan.prompt or self.cfg.prompt,
        )
        best, conflict, attempts = glimpse.picture_u8, 0.0, 0
        while not known.all():
            rgb = self._checked_paint(hint, seed=derived_seed(seed, attempts) if attempts else seed)[0]
            attempts += 1
            judged = self._judged(rgb, known, around, camera, T_world_cam)
            if attempts == 1 or judged.conflict < conflict:
                best, conflict = rgb, judged.conflict
            if judged.acceptable or attempts >= self.cfg.attempts:
                break
        view = glimpse.painted(best, view_id=cache.next_id, camera=camera, T_world_cam=T_world_cam)
        return _Painted(view=view, painted_px=int((~known).sum()), attempts=max(attempts, 1), conflict=conflict)

    def _judged(
        self,
        rgb_u8: np.ndarray,
        known: np.ndarray,
        around: Surroundings,
        camera: PinholeCamera,
        T_world_cam: np.ndarray,
    ) -> Judgement:
        if self.judge is None:
            return Judgement(conflict=0.0)
        return self.judge.judge(
            rgb_u8,
            known,
            depth_z_m=around.depth_z_m,
            labels=around.labels,
            camera=camera,
            T_world_cam=T_world_cam,
        )

    def recall_view(self, scene: Scene, cache: SpatialCache, camera: PinholeCamera, T_world_cam: np.ndarray) -> Glimpse:
        """What memory, ring and planes know of a view."""
        return recall_view(scene, cache, camera, T_world_cam, prepared=self.remember)

    def measure(self, geometry: PhotoGeometry, scene: Scene, cache: SpatialCache) -> dict[str, float]:
        """What the memory is worth in this world: the photo's own view recalled, and found in the view beside it."""
        seed_view = cache.view(0)
        home = self.recall_view(scene, cache, geometry.camera, geometry.T_world_cam)
        return {
            "loop_closure_psnr_db": psnr_db(home.picture_u8, seed_view.rgb_u8, home.remembered),
            "forward_warp_psnr_db": warped_psnr_db(seed_view, cache.view(1)) if len(cache) > 1 else 0.0,
        }

    def _checked_paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        if hint.known.all():
            return hint.rgb_u8
        assert not isinstance(self.painter, ChunkPainter), "it does not paint single frames"
        painted = self.painter.paint(hint, seed=seed)
        if painted.shape != hint.rgb_u8.shape or painted.dtype != np.uint8:
            raise BackendError(
                f"painter '{self.painter.name}' returned {painted.dtype} {painted.shape}; "
                f"expected uint8 {hint.rgb_u8.shape}"
            )
        if not np.array_equal(painted[hint.known], hint.rgb_u8[hint.known]):
            raise BackendError(f"painter '{self.painter.name}' changed pixels that were already known")
        return painted


class _Frames:
    """Progress of one chunk as progress of the whole exploration."""

    def __init__(self, progress: SupportsProgress, before: int, total: int) -> None:
        self._progress, self._before, self._total = progress, before, total

    def painted(self, frames: int, note: str) -> None:
        self._progress.step("explore", self._before + frames, max(self._total, self._before + frames), note)


def warped_psnr_db(photo_view: RgbdView, turned: RgbdView) -> float:
    """How well the photo is found again in another view [dB].

    That view is warped forward into the photo's camera with nothing but its own depth, so an error of colour, depth or
    pose shows. It is limited by the coarser resolution of the two. Compared on the pixels that the warp reaches.
    """
    image, seen, _ = forward_warp(
        turned.rgb_u8[None].astype(float),
        np.where(turned.valid, turned.depth_z_m, 0)[None],
        invert_rigid(turned.T_world_cam)[None],
        reference_K(turned.camera)[None],
        invert_rigid(photo_view.T_world_cam),
        reference_K(photo_view.camera),
        size_hw=photo_view.depth_z_m.shape,
    )
    return psnr_db(image, photo_view.rgb_u8, seen & photo_view.valid)


def psnr_db(got: np.ndarray, want: np.ndarray, where: np.ndarray) -> float:
    """Peak signal-to-noise ratio [dB] of 8-bit values, capped at 99; 0 when there is nothing to compare."""
    if not where.any():
        return 0.0
    error = float(np.mean((got[where].astype(float) - want[where]) ** 2))
    return float(min(10 * np.log10(255.0**2 / max(error, 1e-9)), 99.0))

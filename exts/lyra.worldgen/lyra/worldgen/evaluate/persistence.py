"""What the spatial memory is worth: a camera comes back to where it was, and the two pictures are compared.

The same photo is explored with memory and without, from one seed. Without, a frame knows exactly what the frame before
it shows (`FleetingCache`) and the painter does the rest; nothing else differs. Depth comes from the proxy world in both
cases, so geometry can only differ if the memory or the paths are broken; it is counted pixel by pixel all the same.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..core.chunks import MemoryChunkStore
from ..core.config import GenerationConfig
from ..core.frames import transform_points
from ..core.journey import Leg
from ..core.progress import SILENT
from ..core.schema import MAX_SEED, Section
from ..core.views import Photo, PhotoGeometry, RgbdView
from ..generation.cache import SpatialCache
from ..generation.painter import Painter
from ..generation.pipeline import PREPARED, WorldPipeline
from ..generation.trajectory_files import CHUNK_FRAMES
from .likeness import colour_change, flow_px, psnr_db, ssim

MOVED_M, MOVED_RAD = 1e-3, 1e-4
"""A camera that moved or turned less than both between two visits has never left."""
SHOWN_POSES = 4
"""Poses of a walk whose pictures are kept for the report."""
MIN_PAINTED_SHARE = 0.01
"""With fewer painted pixels than this share of the frame there is nothing to say about them."""
COST_WITHOUT = 6
"""How much longer a frame takes without memory, roughly; for the time that is left."""
LOOPS_WITHOUT = 1
"""Loops that are turned without memory: painting everything anew is slow, and one loop shows what is lost."""


@dataclass(frozen=True, kw_only=True)
class PersistenceConfig(Section):
    """What is walked."""

    size_px: int = 320
    """long side of the frames [px]"""
    loops: int = 10
    """loops after which colours are compared"""
    distance_m: float = 4.0
    """way out and back [m]; geometry may hold the camera back earlier"""
    seed: int = 0
    """of everything that is painted"""

    def _check(self) -> None:
        self._between("size_px", 64, 4096)
        self._between("loops", 1, 100)
        self._between("distance_m", 0.1, 100)
        self._between("seed", 0, MAX_SEED)


@dataclass(frozen=True, kw_only=True)
class Revisit:
    """Two frames from the same pose, with a walk or turn between them."""

    first: int
    again: int
    """Frame numbers along the path; 0 is where it begins."""
    between_m: float
    """How far the camera walked between them."""
    psnr_db: float
    psnr_painted_db: float | None
    """Over what the photo does not show; None where it shows everything."""
    ssim: float
    signed_levels: tuple[float, ...]
    """Mean change of red, green, blue in grey levels of 255."""
    absolute_levels: tuple[float, ...]
    """Mean size of the change."""
    flow_median_px: float
    """How far the picture has moved over the geometry."""
    flow_p95_px: float
    flow_median_m: float
    """The same on the surfaces [m]."""
    depth_error_m: float
    """Mean difference of depth."""
    depth_error_relative: float
    """The same, each relative to its depth."""
    depth_px: int
    """Pixels with depth on the first visit."""
    depth_changed_px: int
    """Those whose depth is not the same to the last bit."""

    @property
    def loop(self) -> int:
        """After how many chunks the frame was seen again; a turn on the spot is one chunk."""
        return (self.again - 1) // CHUNK_FRAMES - (self.first - 1) // CHUNK_FRAMES


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Pictures of one pose."""

    label: str
    first_u8: np.ndarray
    again_u8: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One path, with or without memory."""

    path: str
    remembers: bool
    revisits: tuple[Revisit, ...]
    """In the order of `again`."""
    frames: int
    reach_m: float
    """Farthest place from the beginning."""
    home_psnr_db: float | None
    """Last frame against the photo itself, reduced to its size; None if the path does not end there."""
    shown: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """All walks from one photo."""

    name: str
    walks: tuple[Walk, ...]

    def walk(self, path: str, *, remembers: bool) -> Walk:
        """The walk along a kind of path, `out-and-back` or `spin`."""
        return next(w for w in self.walks if w.path.partition(":")[0] == path and w.remembers == remembers)


@dataclass(frozen=True, kw_only=True)
class WalkPlan:
    """A path that is going to be walked."""

    path: str
    remembers: bool
    frames: int

    @property
    def cost(self) -> int:
        """Steps of progress: what is not remembered has to be painted."""
        return self.frames * (1 if self.remembers else COST_WITHOUT)


def walk_plans(cfg: PersistenceConfig) -> tuple[WalkPlan, ...]:
    """Every walk that is compared, quick ones first."""
    plans = []
    for remembers, loops in ((True, cfg.loops), (False, LOOPS_WITHOUT)):
        for path, chunks in ((f"out-and-back:distance={cfg.distance_m:g}", 2), (f"spin:turns={loops + 1}", loops + 1)):
            plans.append(WalkPlan(path=path, remembers=remembers, frames=chunks * CHUNK_FRAMES))
    return tuple(plans)


def measure_persistence(
    name: str,
    photo: Photo,
    geometry: PhotoGeometry,
    painter: Painter,
    generation: GenerationConfig,
    cfg: PersistenceConfig,
    *,
    on_step: Callable[[int, str], None] = lambda steps, note: None,
) -> Persistence:
    """Walk out and back and turn on the spot, with memory and without, and compare what is seen again.

    Args:
        name: how the report calls it.
        photo, geometry, painter: what the pipeline gets.
        generation: prompt and other settings of the painting; path and size come from `cfg`.
        cfg: what is walked.
        on_step: told how many steps (`WalkPlan.cost`) were just done, and a note. May raise `Cancelled`.

    Raises:
        BackendError: the painter broke its promises.
    """
    generation = dataclasses.replace(generation, view_long_side_px=cfg.size_px)
    prepared = MemoryChunkStore()
    walks = []
    for plan in walk_plans(cfg):
        note = f"{name}, {plan.path.partition(':')[0]} {'with' if plan.remembers else 'without'} memory"
        on_step(0, note)
        step = functools.partial(on_step, plan.cost // plan.frames, note)
        walks.append(
            measure_walk(plan, photo, geometry, painter, generation, seed=cfg.seed, prepared=prepared, on_frame=step)
        )
    return Persistence(name=name, walks=tuple(walks))


def measure_walk(
    plan: WalkPlan,
    photo: Photo,
    geometry: PhotoGeometry,
    painter: Painter,
    generation: GenerationConfig,
    *,
    seed: int,
    prepared: MemoryChunkStore,
    on_frame: Callable[[], None] = lambda: None,
) -> Walk:
    """One walk; what the painter makes beforehand is kept in `prepared` and made once for all walks."""
    leg, photo_alone, store = Leg(path=plan.path), SpatialCache(), MemoryChunkStore()
    pipeline = WorldPipeline(painter=painter, cfg=generation, remember=plan.remembers)
    pipeline.prepare(photo, geometry, photo_alone, leg, seed=seed, progress=SILENT, store=prepared)
    store.save_arrays(PREPARED, PREPARED, prepared.load_arrays(PREPARED, PREPARED) or {})
    watcher = _Watcher(photo_alone)

    def see(chunk: int, index: int, view: RgbdView) -> None:
        watcher.see(chunk * CHUNK_FRAMES + index + 1, view)
        on_frame()

    pipeline.on_frame = see
    pipeline(photo, geometry, seed=seed, store=store, journey=(leg,))
    return watcher.walk(plan, photo, geometry)


class _Watcher:
    """Compares each frame with the first one from its pose, as they come.

    Args:
        photo_alone: a memory of nothing but the photo.
    """

    def __init__(self, photo_alone: SpatialCache) -> None:
        self._photo_alone = photo_alone
        self._first: dict[bytes, tuple[int, RgbdView, np.ndarray]] = {}
        self._Ts: dict[int, np.ndarray] = {}
        self._revisits: list[Revisit] = []
        self._last_seen: dict[int, np.ndarray] = {}
        self._newest: tuple[int, RgbdView] | None = None

    def see(self, number: int, view: RgbdView) -> None:
        """Take in frame `number` of the path; frames of one chunk may come in any order."""
        self._Ts[number] = view.T_world_cam
        if self._newest is None or number > self._newest[0]:
            self._newest = number, view
        key = (view.T_world_cam + 0.0).tobytes()  # -0.0 is the same pose
        if key not in self._first:
            points = transform_points(view.T_world_cam, view.camera.unproject(view.depth_z_m).reshape(-1, 3))
            from_photo = self._photo_alone.recall(points, [0])[1].reshape(view.valid.shape)
            self._first[key] = number, view, view.valid & ~from_photo
            return
        first, before, painted = self._first[key]
        self._revisits.append(_compared(first, before, number, view, painted))
        self._last_seen[first] = view.rgb_u8

    def walk(self, plan: WalkPlan, photo: Photo, geometry: PhotoGeometry) -> Walk:
        """What came out of a whole walk."""
        import cv2

        numbers = sorted(self._Ts)
        Ts = np.stack([self._Ts[n] for n in numbers])
        walked_m, turned_rad = (dict(zip(numbers, way, strict=True)) for way in way_along(Ts))
        revisits = []
        for revisit in sorted(self._revisits, key=lambda r: r.again):
            between_m = abs(walked_m[revisit.again] - walked_m[revisit.first])
            if between_m > MOVED_M or abs(turned_rad[revisit.again] - turned_rad[revisit.first]) > MOVED_RAD:
                revisits.append(dataclasses.replace(revisit, between_m=float(between_m)))
        assert self._newest is not None, "a walk has frames"
        last = self._newest[1]
        home = None
        if np.allclose(last.T_world_cam, geometry.T_world_cam, atol=1e-6):
            size = (last.camera.width_px, last.camera.height_px)
            small = cv2.resize(photo.rgb_u8, size, interpolation=cv2.INTER_AREA)
            home = psnr_db(last.rgb_u8, small, last.valid)
        return Walk(
            path=plan.path,
            remembers=plan.remembers,
            revisits=tuple(revisits),
            frames=len(numbers),
            reach_m=float(np.linalg.norm(Ts[:, :3, 3] - geometry.T_world_cam[:3, 3], axis=1).max()),
            home_psnr_db=home,
            shown=self._shown({r.first for r in revisits}),
        )

    def _shown(self, firsts: Iterable[int]) -> tuple[Shown, ...]:
        """Poses spread evenly over those that were seen again."""
        pictures = {number: view.rgb_u8 for number, view, _ in self._first.values()}
        order = sorted(firsts)
        picks = [order[(2 * i + 1) * len(order) // (2 * SHOWN_POSES)] for i in range(SHOWN_POSES)] if order else []
        return tuple(
            Shown(label=f"frame {n}", first_u8=pictures[n], again_u8=self._last_seen[n]) for n in dict.fromkeys(picks)
        )


def way_along(Ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a camera has walked [P] [m] and turned [P] [rad] until each pose [P, 4, 4]."""
    steps_m = np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1)
    cosine = (np.einsum("nij,nij->n", Ts[1:, :3, :3], Ts[:-1, :3, :3]) - 1) / 2
    turns_rad = np.arccos(np.clip(cosine, -1, 1))
    return np.concatenate([[0], np.cumsum(steps_m)]), np.concatenate([[0], np.cumsum(turns_rad)])


def _compared(first: int, before: RgbdView, again: int, after: RgbdView, painted: np.ndarray) -> Revisit:
    where = before.valid
    if not where.any():
        where = np.ones_like(where)
    signed, absolute = colour_change(before.rgb_u8, after.rgb_u8, where)
    flow = flow_px(before.rgb_u8, after.rgb_u8)
    gap_m = np.abs(after.depth_z_m - before.depth_z_m)[where]
    whole_db = psnr_db(before.rgb_u8, after.rgb_u8, where)
    alike = ssim(before.rgb_u8, after.rgb_u8, where)
    assert whole_db is not None and alike is not None, "the mask selects pixels"
    return Revisit(
        first=first,
        again=again,
        between_m=0.0,
        psnr_db=whole_db,
        psnr_painted_db=psnr_db(before.rgb_u8, after.rgb_u8, painted) if painted.mean() >= MIN_PAINTED_SHARE else None,
        ssim=alike,
        signed_levels=tuple(signed.tolist()),
        absolute_levels=tuple(absolute.tolist()),
        flow_median_px=float(np.median(flow[where])),
        flow_p95_px=float(np.percentile(flow[where], 95)),
        flow_median_m=float(np.median((flow * before.depth_z_m)[where])) / before.camera.fx_px,
        depth_error_m=float(gap_m.mean()),
        depth_error_relative=float((gap_m / np.maximum(before.depth_z_m[where], 1e-3)).mean()),
        depth_px=int(before.valid.sum()),
        depth_changed_px=int(((before.depth_z_m != after.depth_z_m) | (before.valid != after.valid)).sum()),
    )

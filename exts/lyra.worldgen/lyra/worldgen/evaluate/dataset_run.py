"""`evaluate_dataset`: a world of a real film's first picture along its real path, held against the film's frames."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..build import resolve_backends
from ..core.camera import PinholeCamera
from ..core.chunks import MemoryChunkStore
from ..core.config import WorldConfig
from ..core.errors import InputError
from ..core.files import naming
from ..core.frames import invert_rigid, transform_points
from ..core.journey import Leg
from ..core.mesh import Label
from ..core.optional import require
from ..core.progress import SILENT, Progress
from ..core.schema import MAX_SEED, Section
from ..core.views import Photo, PhotoGeometry, RgbdView
from ..generation.geometry import estimate_geometry
from ..generation.painter import PAINTERS, Painter
from ..generation.photo import decode_photo
from ..generation.pipeline import WorldPipeline
from ..generation.trajectory_files import CHUNK_FRAMES
from ..importing.posed import PosedSet
from ..importing.posed_set import PosedPicture, load_picture
from .camera_control import match_features
from .dataset import read_dataset
from .film import resized
from .measures import LOWER, Measure, measure_film, measure_reference
from .networks import Networks, load_networks
from .run import STAGE, Report, unused_name
from .video import write_films
from .video_page import FilmReport, shown_frames

HELD_BACK_M = 0.01
PARTNERS = 8
"""Later pictures that are matched with the first one for its scale."""
LEAST_MATCHES = 30
LEAST_PARALLAX_DEG = 1.0
MATCH_PX = 2.0
MATCH_SIDE_PX = 832


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(Section):
    """What is made of a real film."""

    frames: int = 161
    """pictures of the film that are used, the first ones"""
    seed: int = 0
    """of everything that is painted"""
    pose_scale: float | None = None
    """metres for each unit of the poses; measured by matching pictures when None"""

    def _check(self) -> None:
        self._between("frames", 3, 10_000)
        self._between("seed", 0, MAX_SEED)
        if self.pose_scale is not None and not 1e-6 < self.pose_scale < 1e6:
            raise InputError(f"pose_scale is {self.pose_scale}; expected a positive number")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How long a unit of the real film's poses is in the world."""

    pose_scale: float
    """[m]"""
    matches: int
    """Points that say so; 0 where it was given."""
    relative_spread: float
    """Half the range of the middle 68 % of what they say, over the median."""


def evaluate_dataset(
    folders: Sequence[Path],
    kind: str,
    out: Path,
    cfg: DatasetConfig,
    *,
    config: WorldConfig | None = None,
    networks: Path | None = None,
    progress: Progress = SILENT,
) -> Report:
    """Make a film of each scene's first picture along its real path; write `dataset.json`, `.md`, `.png` and `.html`.

    Args:
        folders: one scene each.
        kind: one of `dataset.DATASETS`.
        out: folder of the report; made if it is missing.
        cfg: how much of each film, and how.
        config: painter, geometry and size of the frames.
        networks: folder of weight files; None looks where torch's hub keeps them.
        progress: one step for every frame.

    Raises:
        InputError: a scene that cannot be read or whose scale cannot be found, or weights that are damaged.
        DependencyError: matplotlib or OpenCV is missing.
        BackendError: the painter or the geometry failed.
        Cancelled: through `progress`.
    """
    require("matplotlib", extra="evaluate")
    require("cv2", extra="gen", package="opencv-python-headless")
    if not folders:
        raise InputError("nothing to evaluate; give the folder of at least one scene")
    scenes = [read_dataset(folder, kind) for folder in folders]
    asked = load_networks(networks)
    settled = resolve_backends(config or WorldConfig())
    painter = PAINTERS.load(settled.generation.painter).from_config(settled)
    with naming("make the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    films: list[FilmReport] = []
    timings_s: dict[str, float] = {}
    for folder, posed in zip(folders, scenes, strict=True):
        began = time.perf_counter()
        name = unused_name(folder.resolve().name, timings_s)
        films.append(measure_scene(name, posed, painter, settled, cfg, asked, progress=progress))
        timings_s[name] = round(time.perf_counter() - began, 1)
    return write_films(out, "dataset", "Films against real ones", films, timings_s=timings_s)


def measure_scene(
    name: str,
    posed: PosedSet,
    painter: Painter,
    config: WorldConfig,
    cfg: DatasetConfig,
    networks: Networks,
    *,
    progress: Progress = SILENT,
) -> FilmReport:
    """Make and measure the film of one scene."""
    posed = dataclasses.replace(posed, frames=posed.frames[: cfg.frames])
    photo = first_photo(posed, config.geometry.working_long_side_px)
    geometry = estimate_geometry(photo, config.geometry, models=config.models)
    if cfg.pose_scale is None:
        alignment = align_scale(posed, geometry)
    else:
        alignment = Alignment(pose_scale=cfg.pose_scale, matches=0, relative_spread=0.0)
    total = 2 * (len(posed.frames) - 1)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress.step(STAGE, min(done, total), total, f"{name}, {'painting' if done <= total // 2 else 'measuring'}")

    frames = paint_along(posed, photo, geometry, painter, config, alignment.pose_scale, seed=cfg.seed, on_frame=step)
    size = (frames[0].camera.width_px, frames[0].camera.height_px)
    real = [real_frame(posed, k, size) for k in range(len(frames))]
    Ts_asked = commanded_poses(posed, geometry, alignment.pose_scale)[: len(frames)]
    figures = measure_film(frames, networks, Ts_commanded=Ts_asked, on_frame=step)
    # The first frame is the photo itself.
    real_u8, where = zip(*real[1:], strict=True)
    likeness = measure_reference(real_u8, [frame.rgb_u8 for frame in frames[1:]], where, networks)
    held = [float(np.linalg.norm(f.T_world_cam[:3, 3] - T[:3, 3])) for f, T in zip(frames, Ts_asked, strict=True)]
    held_back = Measure(
        id="dataset.held_back",
        title="Frames that geometry held back",
        value=100.0 * float(np.mean([way > HELD_BACK_M for way in held])),
        unit="%",
        better=LOWER,
        detail=f"More than {HELD_BACK_M:g} m from the real pose, at most {max(held):.2f} m",
    )
    shown, caption = shown_frames(frames, figures, [rgb for rgb, _ in real])
    return FilmReport(
        name=name,
        figures=figures,
        measures=(*likeness, *figures.measures, held_back),
        shown_u8=shown,
        caption=caption,
        settings={
            "frames": len(frames),
            "frame_px": list(size),
            "layout": posed.layout,
            "painter": painter.name,
            "geometry": geometry.backend,
            "seed": cfg.seed,
            "photo_sha256": photo.sha256,
            "pose_scale": float(f"{alignment.pose_scale:.6g}"),
            "pose_scale_matches": alignment.matches,
            "pose_scale_spread": round(alignment.relative_spread, 4),
        },
    )


def first_photo(posed: PosedSet, long_side_px: int) -> Photo:
    """The first picture, straightened, as the photo that a world is made of; its field of view is the film's."""
    from PIL import Image

    first = load_picture(posed.frames[0], posed, {}, long_side_px)
    buffer = io.BytesIO()
    Image.fromarray(first.rgb_u8).save(buffer, "PNG", compress_level=1)
    path = posed.frames[0].picture
    assert path is not None, "data sets are folders of pictures"
    photo = decode_photo(buffer.getvalue(), path, long_side_px=long_side_px, upright=False)
    return dataclasses.replace(photo, hfov_rad=first.camera.hfov_rad, calibrated=True)


def real_frame(posed: PosedSet, index: int, size_px: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One real picture at the size of the painted ones, [H, W, 3], and where it shows anything [H, W]."""
    import cv2

    picture = load_picture(posed.frames[index], posed, {}, max(size_px))
    if picture.rgb_u8.shape[1::-1] == size_px:
        return picture.rgb_u8, picture.inside
    inside = cv2.resize(picture.inside.astype(np.uint8), size_px, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(picture.rgb_u8, size_px, interpolation=cv2.INTER_AREA), inside > 0


def align_scale(posed: PosedSet, geometry: PhotoGeometry) -> Alignment:
    """Metres for each unit of the poses: matched points are triangulated and held against the first picture's depth.

    Raises:
        InputError: too few points that later pictures show as well, from places far enough apart.
    """
    first = load_picture(posed.frames[0], posed, {}, MATCH_SIDE_PX)
    scales: list[np.ndarray] = []
    last = len(posed.frames) - 1
    for k in dict.fromkeys(np.linspace(1, last, min(PARTNERS, last)).round().astype(int).tolist()):
        scales.append(_scales(first, load_picture(posed.frames[k], posed, {}, MATCH_SIDE_PX), geometry))
    found = np.concatenate(scales)
    if len(found) < LEAST_MATCHES:
        raise InputError(
            f"only {len(found)} points of the first picture were found again from other places, at least "
            f"{LEAST_MATCHES} tell the scale of the poses; say it with --pose-scale: {posed.path}"
        )
    low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])
    return Alignment(pose_scale=float(middle), matches=len(found), relative_spread=float((high - low) / 2 / middle))


def _scales(first: PosedPicture, other: PosedPicture, geometry: PhotoGeometry) -> np.ndarray:
    """[M] the world's depth over the triangulated one, of points that both pictures show."""
    a, b = match_features(first.rgb_u8, other.rgb_u8)
    if not len(a):
        return np.zeros(0)
    T_a_b = invert_rigid(first.T_file_cam) @ other.T_file_cam
    ray_a, ray_b = _rays(first.camera, a), _rays(other.camera, b) @ T_a_b[:3, :3].T
    # Depth s along ray_a and t along ray_b where the two pass each other closest.
    aa, ab, bb = (np.einsum("ni,ni->n", x, y) for x, y in ((ray_a, ray_a), (ray_a, ray_b), (ray_b, ray_b)))
    base = T_a_b[:3, 3]
    across = np.maximum(aa * bb - ab**2, 1e-12)
    s = (bb * (ray_a @ base) - ab * (ray_b @ base)) / across
    points = ray_a * s[:, None]
    pixels, z = other.camera.project(transform_points(invert_rigid(T_a_b), points))
    sine = np.sqrt(across / (aa * bb))
    with np.errstate(invalid="ignore"):
        good = (s > 0) & (z > 0) & (np.linalg.norm(pixels - b, axis=1) < MATCH_PX)
    good &= sine > np.sin(np.radians(LEAST_PARALLAX_DEG))
    camera = geometry.camera
    u = (a[:, 0] * camera.width_px / first.camera.width_px).astype(int).clip(0, camera.width_px - 1)
    v = (a[:, 1] * camera.height_px / first.camera.height_px).astype(int).clip(0, camera.height_px - 1)
    good &= ~np.isin(geometry.labels[v, u], (Label.SKY, Label.BACKDROP))
    return geometry.depth_z_m[v, u][good] / s[good]


def _rays(camera: PinholeCamera, pixels: np.ndarray) -> np.ndarray:
    """[M, 3] with unit z."""
    x, y = (pixels[:, 0] - camera.cx_px) / camera.fx_px, (pixels[:, 1] - camera.cy_px) / camera.fy_px
    return np.stack([x, y, np.ones(len(pixels))], -1)


def commanded_poses(posed: PosedSet, geometry: PhotoGeometry, pose_scale: float) -> np.ndarray:
    """[F, 4, 4] the real poses in the world, the first where the photo was taken."""
    Ts = np.linalg.inv(posed.Ts_file_cam[0]) @ posed.Ts_file_cam
    Ts[:, :3, 3] *= pose_scale
    return geometry.T_world_cam @ Ts


def paint_along(
    posed: PosedSet,
    photo: Photo,
    geometry: PhotoGeometry,
    painter: Painter,
    config: WorldConfig,
    pose_scale: float,
    *,
    seed: int,
    on_frame: Callable[[], None] = lambda: None,
) -> list[RgbdView]:
    """The film that a world's generation makes along the real path; the photo first, at the size of the others."""
    size = load_picture(posed.frames[0], posed, {}, config.generation.view_long_side_px).camera
    K = np.stack([frame.lens.camera().resized(size.width_px, size.height_px).K_px for frame in posed.frames])
    K[:, :2, 2] -= 0.5  # paths count pixel centres as integers
    arrays = {
        "w2c": np.linalg.inv(posed.Ts_file_cam),
        "intrinsics": K,
        "image_height": np.array([size.height_px]),
        "image_width": np.array([size.width_px]),
    }
    digest = hashlib.sha256(arrays["w2c"].tobytes() + K.tobytes()).hexdigest()[:12]
    store = MemoryChunkStore()
    store.save_arrays(f"path-{digest}", digest, arrays)
    made: dict[int, RgbdView] = {}

    def see(chunk: int, index: int, view: RgbdView) -> None:
        made[chunk * CHUNK_FRAMES + index + 1] = view
        on_frame()

    leg = Leg(path=f"real.npz#{digest}", prompt=config.generation.prompt, pose_scale=pose_scale)
    pipeline = WorldPipeline(painter=painter, cfg=config.generation, on_frame=see)
    views = pipeline(photo, geometry, seed=seed, store=store, journey=(leg,))
    frames = [made[k] for k in sorted(made) if k < len(posed.frames)]
    camera = frames[0].camera
    return [resized(views.photo_view, camera.width_px, camera.height_px), *frames]

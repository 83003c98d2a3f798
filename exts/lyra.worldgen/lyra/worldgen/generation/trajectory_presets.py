"""Named camera paths of Lyra 2.0, starting at the photo (our notes 1.5).

The photo's camera is the world: x right, y down, z forward, in the unit of `centre_depth`; lengths grow with it.
"Right" and "left" mean what upstream's recordings show: `rotate_spot` left turns the camera to its right, so that the
picture moves left; `horizontal_zoom` right goes forwards.

Recordings pin the presets marked `recorded`, each for one direction, strength and depth (the zoom for both
directions): how a constant grows with strength or depth is theirs only as far as that shows. The other directions
are mirror images, and every preset without a recording is our own path in the spirit of its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..core.arrays import expect_shape
from ..core.errors import ConfigError, InputError
from .trajectory_drive import RISE
from .trajectory_files import MAX_FRAMES, CameraPath
from .warp import FAR_DEPTH

MAX_STRENGTH = 1000.0
SPIRAL_TURNS = 2
SPIRAL_RADII = (0.15, 0.1)
"""Sideways and down, in strengths times centre depths."""
BEND = 0.04
"""How far the bending zoom sinks for each unit it goes."""
LIFT = 0.15
TURN_RAD = np.radians(20.0)
"""How far `rotate_zoom_in` turns before it goes."""
DEPARTURE_RAD = np.radians(60.0)
"""How far from the photo's optical axis `rotate_zoom_in` then goes."""
DOLLY_WAY = 3.0
"""Way of the dolly zoom, in strengths times centre depths."""
DOLLY_SUBJECT = 0.185
"""Depth of the dolly zoom's subject, in centre depths."""
STEEPEST_ORBIT_RAD = 1.5
WOBBLE = 0.02
"""Size of a hand's shake, as a share of the path's own size."""


@dataclass(frozen=True, kw_only=True)
class _Ask:
    at: np.ndarray
    """[N] frame number that the movement has reached."""
    frames: int
    depth: float
    strength: float
    sign: float
    """1 for the first direction of the preset, -1 for the second."""
    seed: int

    @property
    def short(self) -> np.ndarray:
        """[N] from 0 to one increment before 1."""
        return self.at / self.frames

    @property
    def full(self) -> np.ndarray:
        """[N] from 0 to 1."""
        return self.at / max(self.frames - 1, 1)

    @property
    def reach(self) -> float:
        return self.strength * self.depth


@dataclass(frozen=True, kw_only=True)
class _Motion:
    centres: np.ndarray
    """[N, 3] where the camera is."""
    forwards: np.ndarray
    """[N, 3] unit, where it looks."""
    focal: np.ndarray | float = 1.0
    """[N] factor on the focal lengths."""


_Move = Callable[[_Ask], _Motion]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One named path."""

    help: str
    """One line."""
    move: _Move
    strength: float = 0.5
    """Distance in centre depths unless the help says otherwise; 0 leaves the camera where it is."""
    directions: tuple[str, ...] = ("right", "left")
    """The first is the default; where there is none, every direction is accepted and means nothing."""
    frames: int = 81
    recorded: bool = False
    """Whether a recording of upstream pins it; otherwise the path is our own."""


def preset_path(
    name: str,
    *,
    K: np.ndarray,
    centre_depth: float,
    frames: int | None = None,
    strength: float | None = None,
    direction: str | None = None,
    seed: int = 0,
) -> CameraPath:
    """Cameras of a preset, the photo's own first.

    Args:
        name: one of `PRESETS`.
        K: [3, 3] intrinsics of the photo.
        centre_depth: `quartile_depth` of the seed.
        frames: length; the preset's own when None.
        strength: how far; the preset's own when None.
        direction: right, left, up or down as the preset allows; its first when None.
        seed: of the presets with noise.

    Raises:
        ConfigError: unknown name, or a direction that the preset does not have.
        InputError: a number out of range.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown camera path '{name}'; expected one of: {', '.join(sorted(PRESETS))}")
    preset = PRESETS[name]
    allowed = preset.directions or _DIRECTIONS
    if direction is None:
        direction = allowed[0]
    if direction not in allowed:
        raise ConfigError(f"camera path '{name}' has no direction '{direction}'; expected one of: {', '.join(allowed)}")
    frames = preset.frames if frames is None else frames
    strength = preset.strength if strength is None else strength
    if not 0 < frames <= MAX_FRAMES:
        raise InputError(f"frames is {frames}; expected 1 to {MAX_FRAMES}")
    if not 0 <= strength <= MAX_STRENGTH:
        raise InputError(f"strength is {strength:g}; expected 0 to {MAX_STRENGTH:g}")
    if not 0 < centre_depth <= FAR_DEPTH:
        raise InputError(f"centre_depth is {centre_depth:g}; expected more than 0, at most {FAR_DEPTH:g}")
    K = expect_shape("K", np.asarray(K, float), (3, 3))
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise InputError(f"K has focal lengths {K[0, 0]:g}, {K[1, 1]:g}; expected finite intrinsics above 0")
    motion = preset.move(
        _Ask(
            at=np.arange(frames, dtype=float),
            frames=frames,
            depth=float(centre_depth),
            strength=float(strength),
            sign=1.0 if direction == allowed[0] else -1.0,
            seed=seed,
        )
    )
    Ks = np.tile(K, (frames, 1, 1))
    Ks[:, [0, 1], [0, 1]] *= np.broadcast_to(motion.focal, frames)[:, None]
    return CameraPath(ws2c=_world_to_camera(motion).astype(np.float32), Ks=Ks.astype(np.float32))


def _world_to_camera(motion: _Motion) -> np.ndarray:
    """[N, 4, 4] upright cameras: x = down x forward; none may look straight up or down."""
    z = motion.forwards
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    out = np.tile(np.eye(4), (len(z), 1, 1))
    out[:, :3, :3] = np.stack([x, np.cross(z, x), z], 1)
    out[:, :3, 3] = -(out[:, :3, :3] @ motion.centres[..., None])[..., 0]
    return out


def _points(x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    """[N, 3]."""
    return np.stack(np.broadcast_arrays(x, y, z), -1)


def _looking_at(centres: np.ndarray, depth: float) -> _Motion:
    """Looking at the point `depth` in front of the photo."""
    to = np.array([0.0, 0.0, depth]) - centres
    length = np.linalg.norm(to, axis=1, keepdims=True)
    # At the very point that it looks at, a camera looks ahead.
    forwards = np.where(length > 1e-9 * depth, to / np.maximum(length, 1e-300), [0.0, 0.0, 1.0])
    return _Motion(centres=centres, forwards=forwards)


def _looking_ahead(centres: np.ndarray) -> _Motion:
    return _Motion(centres=centres, forwards=np.tile([0.0, 0.0, 1.0], (len(centres), 1)))


def _turned(yaw_rad: np.ndarray | float, pitch_rad: np.ndarray | float = 0.0) -> np.ndarray:
    """[N, 3] unit; positive yaw looks to the right, positive pitch up."""
    level = np.cos(pitch_rad)
    return _points(np.sin(yaw_rad) * level, -np.sin(pitch_rad), np.cos(yaw_rad) * level)


def _stay(ask: _Ask) -> _Motion:
    return _looking_ahead(np.zeros((len(ask.at), 3)))


def _sideways(ask: _Ask) -> np.ndarray:
    return _points(ask.sign * ask.reach * ask.short, 0.0, 0.0)


def _horizontal(ask: _Ask) -> _Motion:
    return _looking_at(_sideways(ask), ask.depth)


def _horizontal_lift(ask: _Ask) -> _Motion:
    return _looking_at(_sideways(ask) - _points(0.0, LIFT * ask.reach * ask.short, 0.0), ask.depth)


def _horizontal_simple(ask: _Ask) -> _Motion:
    return _looking_ahead(_sideways(ask))


def _vertical_simple(ask: _Ask) -> _Motion:
    return _looking_ahead(_points(0.0, -ask.sign * ask.reach * ask.short, 0.0))


def _horizontal_outward(ask: _Ask) -> _Motion:
    inward = _horizontal(ask)
    return replace(inward, forwards=inward.forwards * [-1.0, 1.0, 1.0])


def _zoom(ask: _Ask) -> _Motion:
    return _looking_at(_points(0.0, 0.0, ask.sign * ask.reach * ask.short), (1 + ask.strength) * ask.depth)


def _zoom_bend(ask: _Ask) -> _Motion:
    z = ask.sign * ask.reach * ask.short
    return _looking_at(_points(0.0, BEND * np.abs(z), z), (1 + ask.strength) * ask.depth)


def _back(ask: _Ask) -> _Motion:
    way = ask.reach * ask.short
    return _looking_at(_points(0.0, -RISE * way, -way), ask.depth)


def _back_simple(ask: _Ask) -> _Motion:
    return _looking_ahead(_points(0.0, 0.0, -ask.reach * ask.short))


def _dolly_zoom(ask: _Ask) -> _Motion:
    """Upstream looks at the subject, so that a camera that has gone past it has turned round, and widens the view."""
    way, subject = DOLLY_WAY * ask.reach * ask.full, DOLLY_SUBJECT * ask.depth
    motion = _looking_at(_points(0.0, 0.0, ask.sign * way), subject)
    return replace(motion, focal=(subject / (subject + way)) ** ask.sign)


def _orbit_horizontal(ask: _Ask) -> _Motion:
    angle = ask.sign * ask.strength * ask.full
    return _looking_at(ask.depth * _points(np.sin(angle), 0.0, 1 - np.cos(angle)), ask.depth)


def _orbit_vertical(ask: _Ask) -> _Motion:
    if ask.strength > STEEPEST_ORBIT_RAD:
        raise InputError(f"strength is {ask.strength:g}; expected at most {STEEPEST_ORBIT_RAD:g} over the centre")
    angle = ask.sign * ask.strength * ask.full
    return _looking_at(ask.depth * _points(0.0, -np.sin(angle), 1 - np.cos(angle)), ask.depth)


def _ellipse(ask: _Ask, radius: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """[N] sideways and down, on an ellipse round the photo."""
    angle = 2 * np.pi * SPIRAL_TURNS * ask.full
    scale = ask.reach * radius
    return ask.sign * SPIRAL_RADII[0] * scale * np.cos(angle), SPIRAL_RADII[1] * scale * np.sin(angle)


def _spiral_centres(ask: _Ask) -> np.ndarray:
    x, y = _ellipse(ask, 1.0)
    return _points(x - ask.sign * SPIRAL_RADII[0] * ask.reach, y, 0.0)


def _spiral(ask: _Ask) -> _Motion:
    return _looking_at(_spiral_centres(ask), ask.depth)


def _spiral_center(ask: _Ask) -> _Motion:
    return _looking_at(_points(*_ellipse(ask, np.sin(np.pi * ask.full)), 0.0), ask.depth)


def _spiral_outwards(ask: _Ask) -> _Motion:
    return _looking_at(_points(*_ellipse(ask, ask.full), 0.0), ask.depth)


def _horizontal_spiral(ask: _Ask) -> _Motion:
    return _looking_at(_sideways(ask) + _spiral_centres(ask), ask.depth)


def _rotate_zoom(way_sign: float) -> _Move:
    def move(ask: _Ask) -> _Motion:
        half = ask.frames // 2
        turned = np.clip(ask.at / max(half - 1, 1), 0, 1)
        gone = np.clip((ask.at - half) / max(ask.frames - half - 1, 1), 0, 1)
        way = _turned(-ask.sign * DEPARTURE_RAD)
        return _Motion(
            centres=way_sign * ask.reach * gone[:, None] * way, forwards=_turned(-ask.sign * TURN_RAD * turned)
        )

    return move


def _rotate_spot(ask: _Ask) -> _Motion:
    return replace(_stay(ask), forwards=_turned(-ask.sign * np.radians(ask.strength) * ask.full))


def _rotate_spot_noise(ask: _Ask) -> _Motion:
    angle = np.radians(ask.strength)
    yaw, pitch, _ = WOBBLE * min(angle, 1.0) * _shake(ask).T
    return replace(_stay(ask), forwards=_turned(yaw - ask.sign * angle * ask.full, pitch))


def _shake(ask: _Ask) -> np.ndarray:
    """[N, 3] smooth seeded noise about 1 in size, 0 in the first frame."""
    rng = np.random.default_rng(ask.seed)
    waves = rng.uniform(1.0, 4.0, (3, 3))
    phases = rng.uniform(0, 2 * np.pi, (3, 3))
    angles = 2 * np.pi * ask.full[:, None, None] * waves + phases
    return (np.sin(angles) - np.sin(phases)).sum(-1) / np.sqrt(3)


def _shaken(move: _Move) -> _Move:
    """The same with the hand's shake; where the camera looks stays steady."""

    def shaken(ask: _Ask) -> _Motion:
        steady = move(ask)
        return replace(steady, centres=steady.centres + WOBBLE * ask.reach * _shake(ask))

    return shaken


def _then_still(move: _Move) -> _Move:
    """The same at twice the speed, then standing."""
    return lambda ask: move(replace(ask, at=np.minimum(2 * ask.at, ask.frames - 1)))


_DIRECTIONS = ("right", "left", "up", "down")

PRESETS: dict[str, Preset] = {
    "original": Preset(help="stay at the photo's camera", move=_stay, directions=(), strength=0.0),
    "horizontal": Preset(help="sideways, facing the scene's centre", move=_horizontal, strength=0.3, recorded=True),
    "horizontal_noise": Preset(help="horizontal, with a hand's shake", move=_shaken(_horizontal), strength=0.3),
    "horizontal_lift": Preset(help="horizontal, rising a little", move=_horizontal_lift, strength=0.3),
    "horizontal_lift_noise": Preset(
        help="horizontal_lift, with a hand's shake", move=_shaken(_horizontal_lift), strength=0.3
    ),
    "horizontal_still": Preset(help="horizontal, then standing", move=_then_still(_horizontal), strength=0.3),
    "horizontal_simple": Preset(help="sideways, looking ahead", move=_horizontal_simple, strength=0.3),
    "horizontal_outward": Preset(help="sideways, turning away from the centre", move=_horizontal_outward, strength=0.3),
    "horizontal_spiral": Preset(help="sideways while circling", move=_horizontal_spiral, strength=0.3),
    "vertical_simple": Preset(
        help="up or down, looking ahead", move=_vertical_simple, strength=0.3, directions=("up", "down")
    ),
    "horizontal_zoom": Preset(help="forwards (right) or backwards (left)", move=_zoom, recorded=True),
    "horizontal_zoom_noise": Preset(help="horizontal_zoom, with a hand's shake", move=_shaken(_zoom)),
    "horizontal_zoom_bend": Preset(
        help="horizontal_zoom, sinking a little, facing a point ahead", move=_zoom_bend, recorded=True
    ),
    "horizontal_zoom_noise_bend": Preset(help="horizontal_zoom_bend, with a hand's shake", move=_shaken(_zoom_bend)),
    "horizontal_zoom_still": Preset(help="horizontal_zoom, then standing", move=_then_still(_zoom)),
    "back": Preset(help="backwards and up, facing the centre", move=_back, directions=()),
    "back_simple": Preset(help="backwards, looking ahead", move=_back_simple, directions=()),
    "dolly_zoom": Preset(
        help="forwards past a near subject while the view widens (left: back while it narrows)",
        move=_dolly_zoom,
        recorded=True,
    ),
    "orbit_horizontal": Preset(
        help="round the centre; strength is the angle [rad]", move=_orbit_horizontal, strength=0.4, recorded=True
    ),
    "orbit_vertical": Preset(
        help="over or under the centre; strength is the angle [rad]",
        move=_orbit_vertical,
        strength=0.4,
        directions=("up", "down"),
        recorded=True,
    ),
    "spiral": Preset(
        help="two turns of an ellipse that begins at the photo", move=_spiral, strength=1.0, recorded=True
    ),
    "spiral_center": Preset(
        help="out onto an ellipse round the photo and back in two turns", move=_spiral_center, strength=1.0
    ),
    "spiral_outwards": Preset(help="two turns round the photo, ever farther out", move=_spiral_outwards, strength=1.0),
    "rotate_zoom_in": Preset(help="turn, then go off to that side", move=_rotate_zoom(1.0), recorded=True),
    "rotate_zoom_out": Preset(help="turn, then back off from that side", move=_rotate_zoom(-1.0)),
    "rotate_spot": Preset(
        help="turn on the spot; strength is the angle [deg]", move=_rotate_spot, strength=30.0, recorded=True
    ),
    "rotate_spot_noise": Preset(help="rotate_spot, with a hand's shake", move=_rotate_spot_noise, strength=30.0),
}
"""Every name that upstream accepts."""

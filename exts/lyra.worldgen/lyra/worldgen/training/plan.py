"""All chance of one training step, drawn before anything is computed (our notes 5.3).

A step's numbers follow from the seed, the step and the rank alone: a run that goes on after a stop draws what it would
have drawn, and no generator has to be saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.schema import Section
from ..generation.context_layout import ContextLayout
from .clips import Clip
from .segments import Segment, draw_segment, draw_views, drop_views, remembered_frames

CLEAN, FROM_IMAGE, AUGMENTED = "clean", "image-to-video", "self-augmented"
SHARED_STREAM = 0
"""The random stream that all ranks read; rank r has stream r + 1."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Section):
    """What is done to the history that the painter learns from."""

    section: ClassVar[str] = "augment"

    self_augmentation: bool = True
    """whether the segment before the target is what the network makes of it, in about a third of the steps"""
    noise_factor: float = 0.5
    """part of a drawn timestep at which it does that; the more noise, the more of it is the network's own"""
    image_rate: float = 0.3
    """share of the even steps that see nothing but the first picture"""
    corruption_mean: float = -3.0
    """mean of the logarithm of the noise on retrieved views"""
    corruption_deviation: float = 2.0
    """its standard deviation"""
    view_drop_rate: float = 0.1
    """how often some of the retrieved views are left out"""
    text_drop_rate: float = 0.2
    """how often the text is replaced by the empty one"""

    def _check(self) -> None:
        for name in ("image_rate", "view_drop_rate", "text_drop_rate"):
            self._between(name, 0.0, 1.0)
        self._between("noise_factor", 0.001, 1.0)
        self._between("corruption_mean", -20.0, 5.0)
        self._between("corruption_deviation", 0.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class StageDraws:
    """What is drawn for one pass through the network."""

    picks: tuple[int, ...]
    """Retrieved frames, best last."""
    corruption_sigma: np.ndarray
    """[slots] float32."""
    corruption_noise: np.ndarray
    """[16, slots, h, w] float32 standard normal."""
    time_u: float
    """Quantile of the time table."""
    noise: np.ndarray
    """[16, new, h, w] float32 standard normal."""
    text_dropped: bool = False


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One training step before it is computed."""

    kind: str
    """`CLEAN`, `FROM_IMAGE` or `AUGMENTED`."""
    target: Segment
    """What the loss is about."""
    draws: StageDraws
    before: Segment | None = None
    """The segment that the network makes itself; only if augmented."""
    before_draws: StageDraws | None = None
    noise_factor: float = 0.5
    """See `AugmentConfig`."""

    def __post_init__(self) -> None:
        whole = self.before is not None and self.before_draws is not None
        assert whole == (self.kind == AUGMENTED), "an augmented step has a segment before its target"


def step_kind(seed: int, step: int, config: AugmentConfig) -> str:
    """What kind of step it is, the same on all ranks: odd ones are clean, even ones self-augmented or from an image."""
    if step % 2:
        return CLEAN
    if np.random.default_rng([seed, step, SHARED_STREAM]).random() <= config.image_rate:
        return FROM_IMAGE
    return AUGMENTED if config.self_augmentation else CLEAN


def plan_step(clip: Clip, layout: ContextLayout, config: AugmentConfig, *, seed: int, step: int, rank: int) -> StepPlan:
    """Draw one step on a film.

    Raises:
        InputError: the film is too short for the layout.
    """
    rng = np.random.default_rng([seed, step, rank + 1])
    kind = step_kind(seed, step, config)
    segment = draw_segment(rng, len(clip), layout)
    if kind == FROM_IMAGE:
        segment = Segment.of(0, layout)
    if kind != AUGMENTED:
        only = [0] if kind == FROM_IMAGE else remembered_frames(segment, len(clip))
        return StepPlan(kind=kind, target=segment, draws=_draw(rng, clip, segment, layout, config, only))
    target = Segment.of(segment.number + 1, layout)
    before_draws = _draw(rng, clip, segment, layout, config, remembered_frames(segment, len(clip)))
    return StepPlan(
        kind=kind,
        target=target,
        draws=_draw(rng, clip, target, layout, config, remembered_frames(target, len(clip))),
        before=segment,
        before_draws=before_draws,
        noise_factor=config.noise_factor,
    )


def _draw(
    rng: np.random.Generator,
    clip: Clip,
    segment: Segment,
    layout: ContextLayout,
    config: AugmentConfig,
    frames: list[int],
) -> StageDraws:
    hw = clip.rgb_u8.shape[1:3]
    slots, small = len(layout.spatial_positions), (hw[0] // 8, hw[1] // 8)
    w2c = clip.w2c[segment.last_new]
    picks = draw_views(rng, [clip.points(i) for i in frames], w2c, clip.K_px, (hw[0], hw[1]), count=slots)
    picks = drop_views(rng, picks, rate=config.view_drop_rate)
    spread = rng.standard_normal(slots)
    return StageDraws(
        picks=tuple(picks),
        corruption_sigma=np.exp(config.corruption_mean + config.corruption_deviation * spread).astype(np.float32),
        corruption_noise=rng.standard_normal((16, slots, *small), np.float32),
        time_u=float(1 / (1 + np.exp(-rng.standard_normal()))),
        noise=rng.standard_normal((16, layout.new_latents, *small), np.float32),
        text_dropped=bool(rng.random() < config.text_drop_rate),
    )

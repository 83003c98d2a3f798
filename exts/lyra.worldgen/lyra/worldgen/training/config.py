"""What a training run is made of; presets lie in `config/training`. Defaults: the released training (our notes, 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..core.errors import ConfigError
from ..core.schema import MAX_SEED, Section
from ..generation.context_layout import RELEASED, ContextLayout
from .plan import AugmentConfig

NEW_PARTS = ("cam_encoder", "buffer_encoder", "self_attn", "clean_patch_embeddings", "patch_embedding")
"""What learns unless everything does, by the names that occur in parameters."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Which part of the films is seen, and at which size."""

    section: ClassVar[str] = "data"

    frames: int = 1000
    """frames of a film that are used; shorter films are played back and forth"""
    resize_width_px: int = 854
    """width that films are resized to before they are cropped [px]"""
    width_px: int = 832
    """width of the training frames, a multiple of 16 [px]"""
    height_px: int = 480
    """their height, a multiple of 16 [px]"""
    held: int = 4
    """films that stay in memory"""

    def _check(self) -> None:
        self._between("frames", 2, 100_000)
        self._between("held", 1, 100_000)
        self._between("resize_width_px", 16, 8192)
        for name in ("width_px", "height_px"):
            self._between(name, 16, 8192)
            if getattr(self, name) % 16:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; expected a multiple of 16")
        if self.resize_width_px < self.width_px:
            raise ConfigError(f"data.resize_width_px is {self.resize_width_px}; expected at least {self.width_px}")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Section):
    """The network that learns; its sizes count only where it does not come from a folder of weights."""

    section: ClassVar[str] = "network"

    fresh: bool = False
    """whether parts that Wan 2.1 lacks (rays, correspondence, context embeddings) starts anew in a folder's network"""
    layout: str = RELEASED
    """what the context holds"""
    width: int = 128
    """channels of a token"""
    layers: int = 2
    """transformer layers"""
    heads: int = 4
    """attention heads"""
    ffn_width: int = 256
    """channels inside a layer's two-layer part"""
    time_width: int = 64
    """sines and cosines of the timestep"""
    squeeze_width: int = 16
    """channels between the two matrices of the correspondence"""

    def _check(self) -> None:
        ContextLayout.parse(self.layout)
        for name in ("width", "ffn_width", "time_width", "squeeze_width"):
            self._between(name, 2, 65_536)
        self._between("layers", 1, 1000)
        self._between("heads", 1, 1000)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Section):
    """The optimiser: AdamW with a linear schedule."""

    section: ClassVar[str] = "optim"

    lr: float = 3e-5
    """learning rate that the factors below multiply"""
    beta1: float = 0.9
    """decay of the first moment"""
    beta2: float = 0.999
    """decay of the second moment"""
    eps: float = 1e-8
    """added to the second moment's root"""
    weight_decay: float = 1e-3
    """pull of the weights towards zero"""
    warmup_steps: int = 100
    """steps over which the factor grows"""
    warmup_start: float = 1e-6
    """factor of the first step"""
    warmup_end: float = 0.99
    """factor after the warm-up"""
    decay_steps: int = 400_000
    """step at which the factor has fallen to its last value"""
    decay_end: float = 0.4
    """factor from then on"""
    clip_norm: float = 0.1
    """longest gradient"""
    trainable: str = "new"
    """what learns: new (rays, correspondence, self-attention and patch embeddings) or all"""
    ema_decay: float = 0.0
    """how slowly an average of the weights follows them; 0 keeps none"""

    def _check(self) -> None:
        self._between("lr", 0.0, 1.0)
        self._between("beta1", 0.0, 0.999999)
        self._between("beta2", 0.0, 0.999999)
        self._between("eps", 1e-20, 1.0)
        self._between("weight_decay", 0.0, 10.0)
        self._between("warmup_steps", 0, 10_000_000)
        self._between("decay_steps", 1, 100_000_000)
        for name in ("warmup_start", "warmup_end", "decay_end"):
            self._between(name, 0.0, 1.0)
        self._between("clip_norm", 1e-6, 1e6)
        self._choice("trainable", ("new", "all"))
        self._between("ema_decay", 0.0, 0.999999)

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied with in step 0, 1, ..."""
        if step < self.warmup_steps:
            return self.warmup_start + (self.warmup_end - self.warmup_start) * step / self.warmup_steps
        way = min((step - self.warmup_steps) / max(self.decay_steps - self.warmup_steps, 1), 1.0)
        return self.warmup_end + (self.decay_end - self.warmup_end) * way


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """Everything that decides what comes out, besides the films and the weights it starts from."""

    seed: int = 0
    """every random draw derives from it"""
    steps: int = 5000
    """optimiser steps"""
    batch_size: int = 1
    """films that a process learns from in one step; the network sees them at once"""
    checkpoint_every: int = 500
    """steps between two checkpoints"""
    checkpoints_kept: int = 2
    """older ones are removed"""
    log_every: int = 10
    """steps between two lines of the log"""
    dtype: str = "auto"
    """number type of the network's passes: auto (bfloat16 where a GPU knows it), float32 or bfloat16"""
    gradient_checkpointing: bool = True
    """whether activations are computed again instead of kept"""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def _check(self) -> None:
        self._between("seed", 0, MAX_SEED)
        self._between("steps", 1, 100_000_000)
        self._between("batch_size", 1, 4096)
        self._between("checkpoint_every", 1, 100_000_000)
        self._between("checkpoints_kept", 1, 1000)
        self._between("log_every", 1, 1_000_000)
        self._choice("dtype", ("auto", "float32", "bfloat16"))

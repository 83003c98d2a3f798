"""What a real camera does to its colours: exposure, white balance, noise of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.colour import DISPLAY_GAMMA
from lyra.worldgen.core.errors import ConfigError

from .hashed import hashed_uniform

_EXPOSURE, _RED, _BLUE = 201, 202, 203


@dataclass(frozen=True, kw_only=True)
class CameraFaultOptions:
    """How far pictures may be off; exposure and white balance are drawn at each reset, noise for every picture."""

    exposure_ev: float
    """Largest exposure too much or too little [EV]: a factor of two in the light each."""
    white_balance: float
    """Largest share by which red and blue light are too strong or too weak, green being right."""
    noise: float
    """Standard deviation of a pixel's values, of 0..1."""
    seed: int

    def __post_init__(self) -> None:
        if not (0 <= self.exposure_ev <= 10 and 0 <= self.white_balance < 1 and 0 <= self.noise <= 1):
            raise ConfigError(
                f"camera exposure {self.exposure_ev} EV, white balance {self.white_balance}, noise {self.noise}; "
                "expected 0 to 10, 0 to less than 1, and 0 to 1"
            )


class CameraFaults:
    """Faults of the cameras of all environments; the same calls give the same faults."""

    def __init__(self, options: CameraFaultOptions, *, env_count: int, device: str) -> None:
        self.options = options
        self._generator = torch.Generator(device=device).manual_seed(options.seed)
        self.gain = torch.ones(env_count, 3, device=device)
        """[N, 3] factors of display values of each environment."""

    def reset(self, env_ids: torch.Tensor, drives: torch.Tensor) -> None:
        """Draw exposure and white balance of environments [n], whose drives have these numbers [n]."""

        def drawn(salt: int) -> torch.Tensor:
            return 2 * hashed_uniform(self.options.seed, env_ids, drives, salt) - 1

        exposure = 2.0 ** (self.options.exposure_ev * drawn(_EXPOSURE))
        tint = 1 + self.options.white_balance
        light = torch.stack(
            [exposure * tint ** drawn(_RED), exposure, exposure * tint ** drawn(_BLUE)],
            -1,
        )
        self.gain[env_ids] = light ** (1 / DISPLAY_GAMMA)

    def apply(self, rgb: torch.Tensor) -> torch.Tensor:
        """[N, H, W, 3] in 0..1: what the robots are told in place of the true pictures."""
        faulty = rgb * self.gain[:, None, None]
        if self.options.noise:
            draw = torch.randn(rgb.shape, generator=self._generator, device=rgb.device)
            faulty = faulty + self.options.noise * draw
        return faulty.clamp(0.0, 1.0)

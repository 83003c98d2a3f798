"""What a real lidar does to its ranges: noise, rays that do not come back, answers that come late."""

from __future__ import annotations

from dataclasses import dataclass

import torch  # noqa: TID253 this module is about tensors

from lyra.worldgen.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FaultOptions:
    """How faulty; everything is drawn anew for each environment, step and ray, latencies at each reset."""

    noise: float
    """Standard deviation of ranges, as a share of the largest."""
    dropout: float
    """Share of rays that do not come back and read as the largest range."""
    latency_steps: int
    """Most steps of the task that a scan is late."""
    seed: int

    def __post_init__(self) -> None:
        if self.noise < 0 or not 0 <= self.dropout <= 1 or not 0 <= self.latency_steps <= 100:
            raise ConfigError(
                f"lidar noise {self.noise}, dropout {self.dropout}, latency {self.latency_steps} steps; expected no "
                "negative noise, a share, and 0 to 100 steps"
            )


class LidarFaults:
    """Faults of the lidars of all environments; the same calls give the same faults."""

    def __init__(self, options: FaultOptions, *, env_count: int, rays: int, device: str) -> None:
        self.options = options
        self._generator = torch.Generator(device=device).manual_seed(options.seed)
        slots = options.latency_steps + 1
        self._past = torch.ones(slots, env_count, rays, device=device)
        """[slot, N, rays] the newest scan in slot `_newest`, older ones before it."""
        self._age = torch.zeros(env_count, dtype=torch.long, device=device)
        """[N] scans since the last reset."""
        self._newest = 0
        self._step = -1
        self.delay_steps = torch.zeros(env_count, dtype=torch.long, device=device)
        """[N] latency of each environment."""
        self.reset(torch.arange(env_count, device=device))

    def reset(self, env_ids: torch.Tensor) -> None:
        """Forget the past of environments [n] and draw their latencies."""
        self._age[env_ids] = 0
        most = self.options.latency_steps + 1
        drawn = torch.randint(most, (len(env_ids),), generator=self._generator, device=self._age.device)
        self.delay_steps[env_ids] = drawn

    def apply(self, shares: torch.Tensor, step: int) -> torch.Tensor:
        """[N, rays] what the robots are told in place of the true ranges.

        Args:
            shares: [N, rays] ranges as shares of the largest.
            step: number of the task's step; asked twice in one step, the lidar has still measured once.
        """
        options = self.options
        faulty = shares
        if options.noise:
            draw = torch.randn(shares.shape, generator=self._generator, device=shares.device)
            faulty = torch.where(shares < 1, (shares + options.noise * draw).clamp(0.0, 1.0), shares)
        if options.dropout:
            lost = torch.rand(shares.shape, generator=self._generator, device=shares.device) < options.dropout
            faulty = torch.where(lost, 1.0, faulty)
        slots = len(self._past)
        if step != self._step:
            self._newest = (self._newest + 1) % slots
            self._age += 1
        self._step = step
        # An environment that was reset in this step has no scan of its new drive yet.
        self._age.clamp_(min=1)
        self._past[self._newest] = faulty
        # Nothing is older than the drive itself.
        back = torch.minimum(self.delay_steps, self._age - 1)
        return self._past[(self._newest - back) % slots, torch.arange(len(shares), device=shares.device)]

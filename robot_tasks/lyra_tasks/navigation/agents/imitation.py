"""PPO that copies a teacher before it learns by itself, as an algorithm of rsl_rl.

At first the teacher drives, then less and less of the robots (Ross et al., "A reduction of imitation learning and
structured prediction to no-regret online learning", 2011): what is learnt are the teacher's answers to everything that
robots have met so far, by whomever they were driven. Meanwhile the critic learns what the drives are worth, so that
ordinary PPO goes on from there and does not have to begin with a critic that knows nothing.
"""

from __future__ import annotations

import math
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from rsl_rl.algorithms import PPO
from tensordict import TensorDict

from lyra.worldgen.core.errors import ConfigError

from ...teacher import Teacher
from .imitation_cfg import ImitationCfg


class ImitatingPPO(PPO):
    """`rsl_rl.algorithms.PPO`, the first iterations of which copy `teacher.Teacher`.

    Args:
        args: as the base class takes them.
        imitation: fields of `ImitationCfg`; None for none.
        kwargs: as the base class takes them.
    """

    def __init__(self, *args: Any, imitation: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._imitation = ImitationCfg(**(imitation or {"iterations": 0}))
        self._done = 0
        """Iterations of imitation so far."""
        self._env: Any = None
        self._calls = 0
        self._answers: torch.Tensor | None = None
        """[N, A] what the teacher said last."""

    @staticmethod
    def construct_algorithm(obs: TensorDict, env: Any, cfg: dict, device: str) -> PPO:
        """As the base class does, for an environment of `navigation.env`."""
        made = PPO.construct_algorithm(obs, env, cfg, device)
        if isinstance(made, ImitatingPPO):
            made._env = env.unwrapped
        return made

    @property
    def imitating(self) -> bool:
        """Whether the teacher is still asked."""
        return self._done < self._imitation.iterations

    def act(self, obs: TensorDict) -> torch.Tensor:
        """Sample actions; the teacher's ones for robots that it still drives."""
        actions = super().act(obs)
        if not self.imitating:
            return actions
        if self._calls % self._imitation.ask_every == 0:
            self._env.drive.measure()
            self._answers = self._teacher.actions(self._env.drive.xy_w, self._env.drive.yaw).to(self.device)
            self._memory.add(obs, self._answers)
        self._calls += 1
        assert self._answers is not None, "the first call asks"
        share = 1.0 - self._done / max(self._imitation.share * self._imitation.iterations, 1.0)
        # Some drive without noise: where they get stuck others would be shaken loose, and nobody would learn from it.
        mean = self.actor.output_mean
        noise = (actions - mean) * (1 - self._rank).unsqueeze(1)
        actions = torch.where((self._rank < share).unsqueeze(1), self._answers, mean) + noise
        self.transition.actions = actions
        return actions

    def update(self) -> dict[str, float]:
        """One iteration of imitation, or of PPO after the last one."""
        if not self.imitating:
            return super().update()
        losses = self._imitate()
        observations = self.storage.observations.flatten(0, 1)
        self.actor.update_normalization(observations)
        self.critic.update_normalization(observations)
        self.storage.clear()
        self._done += 1
        if not self.imitating:
            self._memory.clear()
        return losses

    def save(self) -> dict:
        """As the base class does, with how far imitation has come."""
        return {**super().save(), "imitated": self._done}

    def load(self, loaded_dict: dict, load_cfg: dict | None, strict: bool) -> bool:
        """As the base class does; a checkpoint of plain PPO has nothing left to imitate."""
        self._done = loaded_dict.get("imitated", self._imitation.iterations)
        return super().load(loaded_dict, load_cfg, strict)

    def _imitate(self) -> dict[str, float]:
        """Fit the actor to all answers so far and the critic to the returns of this iteration."""
        cfg, totals = self._imitation, {"imitation": 0.0, "value": 0.0}
        rate = cfg.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * self._done / cfg.iterations)))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batches = self.storage.mini_batch_generator(self.num_mini_batches, self.num_learning_epochs)
        for batch in batches:
            if self.symmetry:
                self.symmetry.augment_batch(batch, batch.observations.batch_size[0])
            value = (self.critic(batch.observations) - batch.returns).square().mean()
            observations, answers = self._memory.sample(cfg.batch)
            if self.symmetry:
                mirrored = self.symmetry.data_augmentation_func
                observations, answers = mirrored(env=self.symmetry.env, obs=observations, actions=answers)
            copied = (self.actor(observations) - answers).square().mean()
            self._optimizer.zero_grad()
            (copied + value).backward()
            for model in (self.actor, self.critic):
                torch.nn.utils.clip_grad_norm_(model.parameters(), self.max_grad_norm)
            self._optimizer.step()
            totals["imitation"] += copied.item()
            totals["value"] += value.item()
        count = self.num_learning_epochs * self.num_mini_batches
        return {name: total / count for name, total in totals.items()}

    @cached_property
    def _optimizer(self) -> torch.optim.Adam:
        """Not PPO's own: what it remembers of imitation's gradients would mislead PPO."""
        # Networks alone: what spreads an actor's actions is PPO's. Actor and critic may share their convolutions.
        networks = [m for name, m in self.actor.named_children() if name in ("mlp", "cnns")]
        return torch.optim.Adam(dict.fromkeys(chain(*(m.parameters() for m in (*networks, self.critic)))))

    @cached_property
    def _teacher(self) -> Teacher:
        env = self._env
        if env.coverage is not None:
            raise ConfigError("there is no teacher for exploring; set agent.algorithm.imitation.iterations=0")
        return Teacher(env.book, env.robot_spec, stop_speed_m_s=env.cfg.stop_speed_m_s)

    @cached_property
    def _rank(self) -> torch.Tensor:
        """[N] in [0, 1), in which order robots are handed over to the student."""
        count = self._env.num_envs
        return torch.randperm(count, device=self.device) / count

    @cached_property
    def _memory(self) -> Memory:
        calls = self._imitation.iterations * self.storage.num_transitions_per_env
        rows = self._env.num_envs * math.ceil(calls / self._imitation.ask_every)
        actor = self.actor
        return Memory(rows, [*actor.obs_groups, *getattr(actor, "obs_groups_2d", ())], self.device)


class Memory:
    """What robots were told and what the teacher said to it.

    Args:
        rows: most of them.
        groups: of observations that are kept.
        device: of the tensors.
    """

    def __init__(self, rows: int, groups: list[str], device: str) -> None:
        self._rows, self._groups, self._device = rows, groups, device
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._told: dict[str, torch.Tensor] = {}
        self._answers = torch.empty(0)
        self._used = 0

    def add(self, told: TensorDict, answers: torch.Tensor) -> None:
        """Remember observations [n, C] and pictures [n, C, H, W] of 0..1 by group, and answers [n, A].

        Pictures are kept in 256 steps, or there would be gigabytes of them.
        """
        # Rollouts run in inference mode, and gradients are wanted of what is kept.
        with torch.inference_mode(False):
            if not self._told:
                for group in self._groups:
                    kind = torch.float32 if told[group].ndim == 2 else torch.uint8
                    shape = (self._rows, *told[group].shape[1:])
                    self._told[group] = torch.empty(shape, dtype=kind, device=self._device)
                self._answers = torch.empty(self._rows, answers.shape[1], device=self._device)
        rows = slice(self._used, self._used + len(answers))
        for group, kept in self._told.items():
            kept[rows] = told[group] if kept.dtype == torch.float32 else (told[group] * 255).round().to(kept.dtype)
        self._answers[rows] = answers
        self._used += len(answers)

    def sample(self, count: int) -> tuple[TensorDict, torch.Tensor]:
        """So many rows at random, some perhaps twice."""
        rows = torch.randint(self._used, (count,), device=self._device)
        told = {
            group: kept[rows] if kept.dtype == torch.float32 else kept[rows] / 255 for group, kept in self._told.items()
        }
        return TensorDict(told, batch_size=[count], device=self._device), self._answers[rows]

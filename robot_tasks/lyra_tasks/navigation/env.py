"""The environment of all navigation tasks: worlds come in before the simulation is built, drives are kept beside it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch

from ..atlas import Atlas, load_atlas
from ..clutter import ClutterBook
from ..compat import allow_pinned_memory_without_cuda, check_ovphysx
from ..courses import CourseBook, CourseOptions
from ..coverage import CoverageBook, CoverageOptions
from ..drive_state import DriveState
from ..mdp.events import env_indices
from .driven_env import DrivenEnv
from .navigation_env_cfg import NavigationEnvCfg
from .robot_cfg import check_robot

OVPHYSX_CFG = "OvPhysxCfg"


class NavigationEnv(DrivenEnv):
    """The environment of a configuration.

    Args:
        cfg: with `worlds` set; is completed in place.
        render_mode: as Gymnasium has it.
        atlas: worlds that were loaded before, instead of those that `cfg.worlds` names.
        kwargs: as the base class takes them.

    Raises:
        InputError: no worlds, damaged ones, or a robot that does not fit.
        DependencyError: OvPhysX is asked for and cannot work here, or the robot's files cannot be reached.
    """

    def __init__(
        self, cfg: NavigationEnvCfg, render_mode: str | None = None, *, atlas: Atlas | None = None, **kwargs: Any
    ) -> None:
        if type(cfg.sim.physics).__name__ == OVPHYSX_CFG:
            check_ovphysx()
            allow_pinned_memory_without_cuda()
        self.cfg = cfg
        self.robot_spec = cfg.robot_spec()
        check_robot(self.robot_spec, cfg.walking_policy)
        self.atlas = atlas or load_atlas(
            cfg.worlds,
            robot_radius_m=self.robot_spec.footprint_radius_m + cfg.planning_margin_m,
            certified_only=cfg.certified_only,
        )
        device, count = str(cfg.sim.device), cfg.scene.num_envs
        if type(cfg.sim.physics).__name__ == OVPHYSX_CFG and device == "cpu":
            self.atlas = self.atlas.with_room(count, cfg.floor_per_robot_m2)
        cfg.complete(self.atlas)
        options = CourseOptions(
            source=cfg.course_source,
            stops=cfg.stops,
            revisits=cfg.revisits,
            min_geodesic_m=cfg.min_geodesic_m,
            goals=cfg.goals_per_world,
            starts=cfg.starts_per_world,
            seed=cfg.seed if cfg.seed is not None else 0,
        )
        self.book = CourseBook(self.atlas, options, env_count=count, device=device)
        if cfg.clutter:
            things = cfg.clutter_options(self.robot_spec)
            self.book.clutter = ClutterBook(self.atlas, things, env_count=count, device=device)
        self.coverage = None
        if cfg.cover_near_m > 0:
            wanted = CoverageOptions(near_m=cfg.cover_near_m, sight_m=cfg.cover_sight_m, share=cfg.cover_share)
            self.coverage = CoverageBook(self.atlas, wanted, env_count=count, device=device)
        self.drive = DriveState(self, self.book, env_count=count, device=device)
        self.arrival_rate = 0.0
        self.on_finish: Callable[[torch.Tensor], None] | None = None
        """Called with environments [n] whose drives end, before they are reset."""
        super().__init__(cfg=cfg, render_mode=render_mode, **kwargs)
        # What was built until here stays: without this Python looks through all of it again and again, for a seventh of
        # a step of 64 robots.
        gc.collect()
        gc.freeze()

    def _reset_idx(self, env_ids: torch.Tensor | slice) -> None:
        if self.on_finish is not None:
            self.on_finish(env_indices(self, env_ids))
        super()._reset_idx(env_ids)

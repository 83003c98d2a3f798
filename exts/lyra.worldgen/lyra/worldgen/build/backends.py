"""Which back-ends a configuration stands for on this machine, and whether they can be used as it says."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.config import ModelsConfig, WorldConfig
from ..core.errors import WorldgenError
from ..core.optional import Registry

if TYPE_CHECKING:
    from ..generation.depth_judge import DepthJudge

log = logging.getLogger(__name__)


def resolve_backends(config: WorldConfig) -> WorldConfig:
    """Replace `auto` by the best back-ends that this machine can run, and say which and why.

    Raises:
        ConfigError: a back-end that does not exist, or one whose settings cannot be used.
        InputError: weights in a folder that does not exist.
    """
    from ..generation.geometry import GEOMETRIES, make_geometry
    from ..generation.painter import PAINTERS

    geometry, generation = config.geometry, config.generation
    if geometry.backend == "auto":
        geometry = replace(geometry, backend="embedded")
    _expect_known(GEOMETRIES, geometry.backend)
    make_geometry(replace(config, geometry=geometry))  # refuses settings that cannot work before anything is written
    if generation.painter == "auto":
        name, why = choose_painter(config.models, config)
        unused = bool(config.models.painter) and name == "patch"
        log.log(logging.WARNING if unused else logging.INFO, "painter %s: %s", name, why)
        generation = replace(generation, painter=name)
    _expect_known(PAINTERS, generation.painter)
    return replace(config, geometry=geometry, generation=generation)


def _expect_known(registry: Registry, name: str) -> None:
    if name not in registry.names():
        registry.load(name)  # refuses it with the list of names; a known one is loaded when it is used


def choose_painter(models: ModelsConfig | None = None, config: WorldConfig | None = None) -> tuple[str, str]:
    """The painter that `auto` stands for on this machine, and why in one line; nothing is fetched or loaded."""
    if models is None or not models.painter:
        return "patch", "needs no weights and runs on any CPU; models.painter names no others"
    try:
        if (Path(models.painter).expanduser() / "lyra2.json").is_file():
            from ..generation.painter_lyra2 import check_settings

            return "lyra2", check_settings(config or WorldConfig(models=models))
        from ..generation.inpaint_pipeline import plan_pipeline

        return "inpaint", plan_pipeline(models)
    except WorldgenError as error:
        return "patch", f"needs no weights; those of models.painter cannot be used: {error}"


def check_painter(config: WorldConfig) -> None:
    if config.generation.painter == "inpaint":
        from ..generation.painter_inpaint import check_settings

        check_settings(config)
    elif config.generation.painter == "lyra2":
        from ..generation.painter_lyra2 import check_settings

        check_settings(config)


def depth_judge(config: WorldConfig) -> DepthJudge | None:
    """Who looks at painted frames: the depth model that the photo was understood with, if there is one."""
    from ..generation.depth import DEPTHS
    from ..generation.depth_judge import DepthJudge

    if config.geometry.backend not in DEPTHS.names():
        return None
    return DepthJudge(DEPTHS.load(config.geometry.backend).from_config(config))

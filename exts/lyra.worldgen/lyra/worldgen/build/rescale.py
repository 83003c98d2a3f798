"""A finished world at another size: nothing is understood, explored, painted or reconstructed anew.

What was painted lies in the world's memory in units of its own. Rescaling writes down what came to be known about the
size, from which the factor to metres follows, and makes everything that is in metres again: portable copies, USD,
colliders, map, episodes, certificate and preview, because neither robots nor their sensors scale. So a world that was
rescaled is, to the byte, the world that `generate` with the same settings of `rescale` makes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.config import RescaleConfig, config_from_dict
from ..core.errors import InputError
from ..core.progress import SILENT, Progress
from ..core.schema import resolved_dict
from ..core.store import load_mesh, load_splats
from ..core.world import World
from .job import input_hashes
from .journey import beginnings
from .run import go_on, open_world, photo_of, stages_of
from .stage import Stage, StageContext, Stages
from .stages import reconstruct_again
from .world_scale import IMPORT, imported_scale, scale_of

_RECONSTRUCT = "reconstruct"


def rescale_world(
    folder: Path,
    rescale: RescaleConfig,
    *,
    progress: Progress = SILENT,
    until: str = "",
    stages: Stages | None = None,
) -> World:
    """Give a world another size. The same settings again change nothing; the defaults bring back the first size.

    Args:
        folder: a world whose exploration has finished.
        rescale: all that is known beyond what the world was generated with; replaces what an earlier call said.
        progress: told about milestones; may cancel.
        until: the last stage to run.
        stages: the real ones when None.

    Raises:
        InputError: no world, one that is not explored yet, or evidence that cannot be used; nothing is changed.
    """
    folder = Path(folder)
    with open_world(folder) as writer:
        stages = stages or stages_of(writer.manifest)
        imported = writer.manifest.photo.imported
        if imported and IMPORT not in writer.manifest.stages:
            raise InputError(f"the world does not hold what is imported yet; import the file again: {folder}")
        if not imported and "explore" not in writer.manifest.stages:
            raise InputError(f"the world is not explored yet; finish it with: lyra-worldgen finish: {folder}")
        old = config_from_dict(writer.manifest.config)
        new = replace(old, rescale=rescale)
        if new != old:
            # Both refuse before anything is changed.
            if imported:
                imported_scale(writer.manifest, rescale)
            else:
                for finding in writer.world.check_files(["understand"]):
                    raise InputError(f"{finding.message}; repair it with: lyra-worldgen finish: {folder}")
                photo, photo_bytes = photo_of(writer.world, old, stages)
                scale_of(folder, photo, photo_bytes, new)
            if _is_whole(writer.world, stages):
                stages = _copying(writer.world, stages)
            manifest = replace(writer.manifest, config=resolved_dict(new))
            renamed = dict(zip(beginnings(writer.manifest), beginnings(manifest), strict=True))
            parents = tuple(renamed.get(parent, parent) for parent in manifest.parents)
            writer.amend(config=manifest.config, parents=parents)
        return go_on(writer, stages, progress=progress, until=until)


def _is_whole(world: World, stages: Stages) -> bool:
    """Whether the reconstruction is what the world's own settings make of it."""
    manifest = world.manifest
    config = config_from_dict(manifest.config)
    hashes = input_hashes(manifest.photo.sha256, config, stages, manifest.journey)
    names = (IMPORT, _RECONSTRUCT) if manifest.photo.imported else ("understand", "explore", _RECONSTRUCT)
    done = all(name in manifest.stages and manifest.stages[name].inputs == hashes[name] for name in names)
    return done and world.check_files([_RECONSTRUCT]).ok


def _copying(world: World, stages: Stages) -> Stages:
    """The stages, the reconstruction replaced by one that takes mesh and splats from what the world holds."""
    # Loaded now: the stage's files go when it begins.
    mesh = load_mesh(world.path("memory/mesh.npz"))
    splats = load_splats(world.path("memory/splats.npz"))
    record = world.manifest.stages[_RECONSTRUCT]

    def run(context: StageContext) -> None:
        reconstruct_again(context, mesh, splats, record)

    def other(stage: Stage) -> Stage:
        return replace(stage, run=run) if stage.name == _RECONSTRUCT else stage

    return replace(stages, items=tuple(other(stage) for stage in stages.items))

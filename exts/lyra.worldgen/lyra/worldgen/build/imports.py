"""From a file of another program to a finished world folder: the same job as a photo, with other first stages.

The stage `import` reads the file and writes what it holds into the memory, upright and in units of its own; from then
on the file is not needed any more. `reconstruct` makes of it what is missing: a surface of splats, splats of a surface,
both of posed pictures. The stages behind them are those of every world.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..core.config import RescaleConfig, WorldConfig, config_from_dict
from ..core.errors import InputError
from ..core.manifest import Manifest, PhotoRecord
from ..core.progress import SILENT, Progress
from ..core.schema import resolved_dict
from ..core.version import generator_name
from ..core.world import World
from ..core.world_writer import existing_manifest, open_for_writing
from ..importing.kinds import find_source, read_source
from .job import begin_or_go_on, check_stages, finished_world
from .path_files import PathFiles
from .stage import Stage, StageContext, Stages
from .stage_run import Run
from .stages import installed_versions, late_stages, rounded, write_reconstructed
from .world_scale import IMPORT, imported_scale

if TYPE_CHECKING:
    from ..importing.records import ImportedScene, Source
    from ..reconstruction.reconstruct import Reconstruction

MESH_FILE, SPLATS_FILE, PATH_FILE = "imported_mesh.npz", "imported_splats.npz", "path.npz"
"""What an import leaves below `memory/`, besides posed views."""


def import_world(
    source: Path,
    out: Path,
    config: WorldConfig | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
    until: str = "",
    source_name: str = "",
) -> World:
    """Make a world of a file that another program made, or finish one that was begun. A finished one is left as it is.

    Args:
        source: splats, a mesh, a panorama, or posed pictures; what it is is found by its content.
        out: the world folder; missing, empty, or a world of the same file and configuration.
        config: defaults when None; its section `source` says what is known about the file.
        progress: told about milestones; may cancel.
        overwrite: make the world anew when the folder holds one already.
        until: the last stage to run; the world stays unfinished. All when empty.
        source_name: what the world calls the file, when that is not its name.

    Raises:
        InputError: a file that cannot be read or used, or a folder with a world of other inputs.
        DependencyError: a package that a stage needs is missing.
        ConversionError: the geometry could not be written as USD.
        Cancelled: the user stopped; finished stages are kept for the next run.
    """
    source, out = Path(source), Path(out)
    config = config or WorldConfig()
    before = existing_manifest(out)
    found = find_source(source, config.source.kind)
    stages = import_stages(found)
    if before is not None and not overwrite and "rescale" in before.config and config.rescale == RescaleConfig():
        # The size that it was given since belongs to the world.
        config = replace(config, rescale=config_from_dict({"rescale": before.config["rescale"]}).rescale)
    manifest = Manifest(
        generator=generator_name(),
        photo=PhotoRecord(
            name=source_name or source.resolve().name,
            sha256=found.sha256,
            kind=found.kind,
            licence=config.source.licence,
        ),
        config=resolved_dict(config),
        plan=tuple(stage.name for stage in stages.items),
    )
    if before is not None and not overwrite and (world := finished_world(out, before, manifest, config, stages)):
        return world
    check_stages(out, None if overwrite else before, config, stages)
    with open_for_writing(out) as writer:
        begin_or_go_on(writer, manifest, overwrite=overwrite)
        Run(writer, stages, config, None, b"", progress, PathFiles()).all(until)
        return writer.world


def import_stages(source: Source | None = None) -> Stages:
    """The stages of an import; without the source only those behind the first can run."""

    def read(context: StageContext) -> None:
        if source is None:
            name = context.manifest.photo.name
            raise InputError(f"the world does not hold what was in {name} yet; run lyra-worldgen import with it again")
        _import(context, source)

    return Stages(
        read_photo=lambda path, config: _no_photo(path),
        resolve=lambda config: config,
        items=(
            Stage(
                name=IMPORT,
                run=read,
                sections=("source", "geometry"),
                late_sections=("scale",),
                work=10,
                disk_mib=400,
            ),
            Stage(
                name="reconstruct",
                run=_reconstruct,
                sections=("reconstruction",),
                late_sections=("rescale",),
                work=60,
                disk_mib=300,
                outputs=("memory/mesh.npz", "memory/splats.npz", "splats.ply", "points.ply", "mesh.glb"),
            ),
            *late_stages(),
        ),
    )


def _no_photo(path: Path) -> NoReturn:
    raise InputError(f"an imported world has no photo: {path}")


def _import(context: StageContext, source: Source) -> None:
    """Read the file into the memory."""
    notes = context.notes
    scene = read_source(source, context.config, progress=context.progress)
    memory = notes.folder / "memory"
    memory.mkdir()
    _save_scene(memory, scene)
    notes.backend = scene.backend
    licences = (context.config.source.licence, scene.weights_licence)
    notes.weights_licence = " AND ".join(text for text in licences if text and not text.lower().startswith("none"))
    notes.versions = installed_versions("numpy", "trimesh", "pillow", "scipy", "opencv-python-headless")
    notes.facts = {"kind": source.kind, "layout": source.layout, "scale": scene.scale.as_dict(), **scene.facts}
    notes.findings = scene.report.as_list()


def _save_scene(memory: Path, scene: ImportedScene) -> None:
    from ..core.store import save_geometry, save_mesh, save_path, save_splats, save_views

    if scene.mesh is not None:
        save_mesh(memory / MESH_FILE, scene.mesh)
    if scene.splats is not None:
        save_splats(memory / SPLATS_FILE, scene.splats)
    if scene.views is not None:
        save_views(memory, scene.views)
    else:
        save_path(memory / PATH_FILE, scene.Ts_world_path)
    if scene.geometry is not None:
        save_geometry(memory / "geometry.npz", scene.geometry)


def _reconstruct(context: StageContext) -> None:
    """Make what the import did not bring; the memory keeps its units, `reconstruct` works in metres."""
    from ..core.scaling import scaled_mesh, scaled_poses, scaled_splats, scaled_views
    from ..core.store import load_mesh, load_path, load_splats, load_views

    memory, config = context.notes.world / "memory", context.config
    imported = context.manifest.stages[IMPORT]
    # As it was imported: the surface does not depend on what is said about its size later.
    factor = imported_scale(context.manifest, RescaleConfig()).metres_per_unit
    result: Reconstruction
    if "memory/explored.npz" in imported.files:
        from ..reconstruction.reconstruct import reconstruct

        views = scaled_views(load_views(memory), factor)
        result = reconstruct(views, config.reconstruction, progress=context.progress)
    elif f"memory/{SPLATS_FILE}" in imported.files:
        from ..importing.splat_surface import reconstruct_splats

        splats = scaled_splats(load_splats(memory / SPLATS_FILE), factor)
        path = scaled_poses(load_path(memory / PATH_FILE), factor)
        result = reconstruct_splats(splats, path, config, progress=context.progress)
    else:
        from ..importing.mesh_world import reconstruct_mesh

        mesh = scaled_mesh(load_mesh(memory / MESH_FILE), factor)
        path = scaled_poses(load_path(memory / PATH_FILE), factor)
        result = reconstruct_mesh(mesh, path, config, progress=context.progress)
    notes = context.notes
    notes.backend = "embedded"
    notes.versions = installed_versions("numpy", "trimesh", "xatlas", "numba", "embreex", "opencv-python-headless")
    in_units = replace(
        result, mesh=scaled_mesh(result.mesh, 1 / factor), splats=scaled_splats(result.splats, 1 / factor)
    )
    write_reconstructed(context, in_units)
    notes.facts |= {name: rounded(value) for name, value in sorted(result.metrics.items())}
    notes.findings += result.report.as_list()

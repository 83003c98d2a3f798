"""A world folder opened for reading, finished or growing: where its files lie, whole or not, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .base_world import base_folder
from .errors import InputError
from .files import sha256_file
from .manifest import LATE_STAGES, MANIFEST_NAME, FileRecord, Manifest, read_manifest, safe_name
from .mesh import TriMesh
from .report import Report
from .scaling import scaled_geometry, scaled_mesh, scaled_splats, scaled_views
from .splats import GaussianCloud
from .store import load_geometry, load_mesh, load_splats, load_views
from .views import PhotoGeometry, WorldViews


@dataclass(frozen=True, kw_only=True)
class World:
    """A world folder opened for reading; only files that the manifest lists are handed out."""

    folder: Path
    manifest: Manifest

    @property
    def finished(self) -> bool:
        return self.manifest.finished

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`; empty before the certificate."""
        return self.manifest.verdict

    def facts(self, stage: str) -> dict[str, Any]:
        """What a stage found out; empty if it has not finished."""
        record = self.manifest.stages.get(stage)
        return dict(record.facts) if record else {}

    @cached_property
    def base(self) -> World | None:
        """The world that this one is a variant of, which lends it what it does not have; None for others.

        Raises:
            InputError: it is not where it was, is a variant itself, or has changed since.
        """
        record = self.manifest.base
        if record is None:
            return None
        folder = base_folder(self.folder, record)
        if not (folder / MANIFEST_NAME).is_file():
            raise InputError(
                f"the world that this is a variant of is not at '{record.path}'; put it back: {self.folder}"
            )
        base = load_world(folder)
        if base.manifest.base is not None:
            raise InputError(f"'{record.path}' is a variant itself; expected a world of its own: {self.folder}")
        if (base.manifest.id, base.manifest.content_sha256) != (record.id, record.sha256):
            raise InputError(
                f"'{record.path}' has changed since this variant of it was made; make the variant again: {self.folder}"
            )
        return base

    def has(self, name: str) -> bool:
        """Whether the world has a file: one that its manifest lists, or one that its base lends."""
        return name in self.manifest.files() or self._lent(name) is not None

    def _lent(self, name: str) -> World | None:
        """The base if it lends a file."""
        record = self.manifest.base
        if record is None or not record.lends(name) or self.base is None:
            return None
        return self.base if self.base.has(name) else None

    def path(self, name: str) -> Path:
        """Where a file lies: in this folder, or in its base's where a variant has none of its own.

        Raises:
            InputError: the manifest does not list it, it is missing, a link leads out of the folder, or the base has
                changed.
        """
        base = self.base  # asked for always: what a variant's own files say is said about its base as it was
        listed = name in self.manifest.files()
        if base is not None and not listed and self._lent(name) is not None:
            path = base.path(name)
            if path.stat().st_size != base.manifest.files()[name].size:
                raise InputError(f"the file '{name}' of the world that this is a variant of has changed: {path}")
            return path
        if not listed:
            raise InputError(f"the world has no file '{name}'; finish it with: lyra-worldgen generate: {self.folder}")
        path = self.folder / safe_name(name)
        root = self.folder.resolve()
        if not path.is_file() or not path.resolve().is_relative_to(root):
            raise InputError(f"the file '{name}' is missing or leads out of the world folder: {path}")
        return path

    def check_files(self, stages: Iterable[str] | None = None) -> Report:
        """Compare every listed file with its size and hash; one finding of error level for each that differs.

        What a variant is lent counts with it; a base that cannot be used is a finding, too.
        """
        report = Report()
        if self.manifest.base is not None:
            try:
                assert self.base is not None, "a variant has a base"
                report.extend(self.base.check_files(n for n in self.base.manifest.stages if n not in LATE_STAGES))
            except InputError as error:
                report.error("world.base", str(error))
        names = self.manifest.stages if stages is None else stages
        for stage in names:
            for name, entry in self.manifest.stages[stage].files.items():
                if problem := self._problem(name, entry):
                    report.error(f"world.file_{problem}", f"file {name} of stage {stage} is {problem}", file=name)
        return report

    def geometry(self) -> PhotoGeometry:
        """What is known about the photo's space, in metres."""
        return scaled_geometry(load_geometry(self.path("memory/geometry.npz")), self.manifest.metres_per_unit)

    def views(self) -> WorldViews:
        """Everything that was explored, in metres."""
        views = load_views(self.path("memory/explored.npz").parent)
        return scaled_views(views, self.manifest.metres_per_unit)

    def mesh(self) -> TriMesh:
        """Exact mesh with labels and texture, in metres."""
        return scaled_mesh(load_mesh(self.path("memory/mesh.npz")), self.manifest.metres_per_unit)

    def splats(self) -> GaussianCloud:
        """Exact splats with labels, in metres."""
        return scaled_splats(load_splats(self.path("memory/splats.npz")), self.manifest.metres_per_unit)

    def _problem(self, name: str, entry: FileRecord) -> str:
        path = self.folder / safe_name(name)
        try:
            if path.is_symlink() or not path.is_file():
                return "missing"
            changed = path.stat().st_size != entry.size or sha256_file(path) != entry.sha256
        except OSError:
            return "unreadable"
        return "changed" if changed else ""


def load_world(path: Path) -> World:
    """Open a world folder, finished or not, for reading.

    Raises:
        InputError: no world folder, or a manifest that cannot be trusted.
    """
    return World(folder=Path(path), manifest=read_manifest(path))


def locate(folder: Path, name: str) -> Path:
    """Where a file of a world lies, by name, for readers that take folders of any kind: as `World.path` says, but what
    no manifest lists may lie in the folder, or nowhere.

    Raises:
        InputError: the folder is a variant's and its base cannot be used.
    """
    own = Path(folder) / name
    try:
        states_base = "base" in json.loads((Path(folder) / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return own  # whoever needs the manifest says what is wrong with it
    if not states_base:
        return own
    world = load_world(folder)
    if world.base is None or own.exists():  # asking for the base makes sure that it is the one that was meant
        return own
    return world.path(name) if world.has(name) else own

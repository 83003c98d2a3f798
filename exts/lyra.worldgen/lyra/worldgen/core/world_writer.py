"""Writing a world folder: one writer at a time, stage by stage, and never half a stage.

A stage writes into `.<stage>.partial/` inside the world folder. When it is done its files are flushed and moved to
their places and `world.json`, which names them, is replaced last. Whatever `world.json` does not name does not exist
for readers. Before files without a record can come to lie in the folder their names go to `.pending.json`, so the next
run knows which of them to remove after a crash; a file that somebody else put there is never touched.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import naming, sha256_file, sync_file, sync_folder, write_json
from .manifest import MANIFEST_NAME, FileRecord, Manifest, StageRecord, manifest_to_json, read_manifest, safe_name
from .world import World

log = logging.getLogger(__name__)

ASIDE_SUFFIXES = (".part", ".partial")
"""What writers append, after a leading dot, to the name of a file that they have not finished."""
LOCK_NAME, PENDING_NAME = ".lock", ".pending.json"
_PARTIAL = re.compile(r"\.[a-z0-9_-]+\.partial\Z")
_OWN_LEFTOVERS = {LOCK_NAME, PENDING_NAME, f".{MANIFEST_NAME}.part", f".{PENDING_NAME}.part"}


@dataclass
class StageNotes:
    """What a stage tells about itself while it runs; becomes its record."""

    folder: Path
    """Empty folder that takes the stage's files, under the names they will have in the world."""
    world: Path
    """The world folder with the files of the stages before."""
    backend: str = ""
    model: str = ""
    weights_licence: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    seconds_before: float = 0.0
    """What it took before the stage's files were begun [s]."""


def existing_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder that may take a world; None if the folder is missing or empty.

    Raises:
        InputError: a file, a folder with other things in it, or a damaged world. Nothing is changed.
    """
    with naming("use the output folder", folder):
        if not folder.exists():
            if folder.is_symlink():
                raise InputError(f"the output is a link to nothing; remove it or choose another folder: {folder}")
            return None
        if not folder.is_dir():
            raise InputError(f"the output is a file; choose a folder: {folder}")
        names = {entry.name for entry in folder.iterdir()}
    if MANIFEST_NAME in names:
        return read_manifest(folder)
    if foreign := sorted(name for name in names - _OWN_LEFTOVERS if not _PARTIAL.match(name)):
        raise InputError(
            f"the output folder holds other things ({foreign[0]}{', ...' if len(foreign) > 1 else ''}) and no "
            f"{MANIFEST_NAME}; choose an empty or new folder: {folder}"
        )
    return None


class WorldWriter:
    """The one process that changes a world folder; made by `open_for_writing`."""

    def __init__(self, folder: Path, manifest: Manifest | None) -> None:
        self.folder = folder
        self._manifest = manifest
        self._recover()

    @property
    def manifest(self) -> Manifest:
        assert self._manifest is not None, "start() or an existing world comes first"
        return self._manifest

    @property
    def is_new(self) -> bool:
        """True while the folder has no manifest."""
        return self._manifest is None

    @property
    def world(self) -> World:
        return World(folder=self.folder, manifest=self.manifest)

    def start(self, manifest: Manifest) -> None:
        """Write the first manifest, or replace the one of a world that is made anew (its files are removed)."""
        if self._manifest is not None:
            self.drop_stages(self._manifest.stages)
        self._save(manifest)

    def amend(self, **changes: Any) -> None:
        """Replace fields of the manifest, for example its journey."""
        self._save(replace(self.manifest, **changes))

    def copy(self, source: World, stages: Iterable[str]) -> None:
        """Begin a world with finished stages of another one, whose files the caller has checked.

        Raises:
            InputError: a file cannot be copied; this world stays without the stages.
        """
        names = [name for name in source.manifest.stages if name in set(stages)]
        begun = replace(source.manifest, stages={})
        self.start(begun)
        files = [file for name in names for file in source.manifest.stages[name].files]
        self._write_pending(files)
        with naming("copy the world", self.folder):
            for file in files:
                target = self.folder / safe_name(file)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.path(file), target)
                sync_file(target)
        self._save(replace(begun, stages={name: source.manifest.stages[name] for name in names}))
        self._clear_pending()

    def is_done(self, name: str, inputs: str) -> bool:
        """Whether a stage finished with these inputs and all files of it and of its parts are as they were left."""
        record = self.manifest.stages.get(name)
        if record is None or record.inputs != inputs:
            return False
        parts = [other for other in self.manifest.stages if other.startswith(f"{name}/")]
        return self.world.check_files([name, *parts]).ok

    def drop_stages(self, names: Iterable[str]) -> None:
        """Forget stages and remove their files."""
        gone = [name for name in names if name in self.manifest.stages]
        if not gone:
            return
        files = [file for name in gone for file in self.manifest.stages[name].files]
        self._write_pending(files)
        self._save(self.manifest.without_stages(gone))
        self._clear_pending()

    @contextmanager
    def stage(
        self,
        name: str,
        *,
        inputs: str,
        in_place: Iterable[str] = (),
    ) -> Iterator[StageNotes]:
        """Run one stage; its files and its record appear together when the block ends well, else neither.

        Args:
            name: `stage` or `stage/part`.
            inputs: hash of what decides the result.
            in_place: files that the block writes straight into the world folder instead of its own.

        Raises:
            InputError: a file cannot be written.
        """
        began = time.monotonic()
        self.drop_stages([name])
        in_place = sorted(in_place)
        partial = self.folder / f".{name.replace('/', '-')}.partial"
        with naming("write", partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        if in_place:
            self._write_pending(in_place)
        notes = StageNotes(folder=partial, world=self.folder)
        try:
            yield notes
            for file in in_place:
                if (self.folder / file).is_file():
                    (partial / file).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(self.folder / file, partial / file)
            self._commit(name, inputs, notes, began)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            self._clear_pending()

    def _commit(self, name: str, inputs: str, notes: StageNotes, began: float) -> None:
        with naming(f"finish stage {name}", self.folder):
            files = _inventory(notes.folder)
            for other, record in self.manifest.stages.items():
                twice = sorted(record.files.keys() & files.keys())
                assert not twice, f"stages {other} and {name} both write {twice[0]}"
            self._write_pending(files)
            for file in files:
                target = self.folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(notes.folder / file, target)
            for parent in sorted({(self.folder / file).parent for file in files}):
                sync_folder(parent)
            record = StageRecord(
                inputs=inputs,
                backend=notes.backend,
                model=notes.model,
                weights_licence=notes.weights_licence,
                versions=dict(sorted(notes.versions.items())),
                seconds=round(time.monotonic() - began + notes.seconds_before, 3),
                files=files,
                facts=notes.facts,
                findings=tuple(notes.findings),
            )
            self._save(self.manifest.with_stage(name, record))

    def _save(self, manifest: Manifest) -> None:
        write_json(self.folder / MANIFEST_NAME, manifest_to_json(manifest))
        self._manifest = manifest

    def _write_pending(self, files: Iterable[str]) -> None:
        """Note files that may lie in the folder without a record from now on, besides those noted before."""
        names = sorted({*self._read_pending(), *(safe_name(file) for file in files)})
        write_json(self.folder / PENDING_NAME, {"files": names})

    def _read_pending(self) -> list[str]:
        path = self.folder / PENDING_NAME
        try:
            names = json.loads(path.read_bytes())["files"]
            return [safe_name(name, PENDING_NAME) for name in names]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{PENDING_NAME} is damaged; remove the folder and generate the world again: {path}"
            ) from (error)

    def _clear_pending(self) -> None:
        """Remove noted files that no record names, the folders they leave empty, and the note itself."""
        pending = self._read_pending()
        listed = self._manifest.files() if self._manifest else {}
        for file in pending:
            if file not in listed:
                path = self.folder / file
                for name in (path.name, *(f".{path.name}{suffix}" for suffix in ASIDE_SUFFIXES)):
                    path.with_name(name).unlink(missing_ok=True)
                _remove_empty(path.parent, self.folder)
        (self.folder / PENDING_NAME).unlink(missing_ok=True)

    def _recover(self) -> None:
        """Remove what a killed writer left."""
        with naming("clean up", self.folder):
            self._clear_pending()
            for entry in sorted(self.folder.iterdir()):
                if entry.is_dir() and not entry.is_symlink() and _PARTIAL.match(entry.name):
                    log.info("removing what an interrupted run left: %s", entry.name)
                    shutil.rmtree(entry)
                elif entry.name in _OWN_LEFTOVERS - {LOCK_NAME, PENDING_NAME}:
                    entry.unlink()

    def abandon(self) -> None:
        """Remove everything if no stage has finished."""
        if self._manifest is not None and self._manifest.stages:
            return
        (self.folder / MANIFEST_NAME).unlink(missing_ok=True)
        self._manifest = None
        self._recover()


@contextmanager
def open_for_writing(folder: Path) -> Iterator[WorldWriter]:
    """Become the only writer of a world folder, which is made if it is missing.

    If the block fails before the first stage has finished, everything it made is removed again, folders included.

    Raises:
        InputError: the folder holds other things or a damaged world, another process writes to it, or it cannot be
            written.
    """
    folder = Path(folder)
    existing_manifest(folder)
    created = _make_folders(folder)
    finished = False
    try:
        with _locked(folder):
            writer = WorldWriter(folder, existing_manifest(folder))  # again: somebody may have finished meanwhile
            began_empty = writer.is_new
            try:
                yield writer
                finished = True
            finally:
                if not finished and began_empty:
                    writer.abandon()
    finally:
        if not finished:
            _remove_folders(created)


def _inventory(folder: Path) -> dict[str, FileRecord]:
    """All files below a folder, flushed to the disk, with size and hash; sorted by name."""
    found: dict[str, FileRecord] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        name = path.relative_to(folder).as_posix()
        assert stat.S_ISREG(mode), f"a stage made the link or special file {name}"
        sync_file(path)
        found[safe_name(name)] = FileRecord(size=path.stat().st_size, sha256=sha256_file(path))
    return found


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with its parents; returns those that did not exist, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    created: list[Path] = []
    try:
        with naming("make the output folder", folder):
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                created.append(path)
    except InputError:
        _remove_folders(created)
        raise
    return created


def _remove_folders(created: list[Path]) -> None:
    """Take back what `_make_folders` made, as far as nothing has come to lie in it."""
    for path in reversed(created):
        try:
            path.rmdir()
        except OSError:
            break


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def holder(folder: Path) -> str:
    """Which process writes to a world folder, as `PID on HOST`; empty if none does."""
    path = Path(folder) / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return ""
    try:
        # Whoever asks holds the lock for a moment; the file of a process that died counts for nothing.
        return "" if _try_lock(descriptor) else _owner(path).strip(" ()") or "another process"
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder's lock file."""
    busy = f"another process{{owner}} is writing this world; wait for it or stop it, then try again: {folder}"
    return held(folder / LOCK_NAME, busy)


@contextmanager
def held(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process dies, however it dies.

    Args:
        path: the file, in a folder that exists.
        busy: what is said when another process holds it, with `{owner}` where that process is named.

    Raises:
        InputError: another process holds it, or the file cannot be made.
    """
    with naming("write to the output folder", path.parent):
        attempts = 0
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _try_lock(descriptor):
                owner = _owner(path)
                os.close(descriptor)
                attempts += 1
                if attempts < 5:  # somebody may only have asked who the holder is
                    time.sleep(0.02)
                    continue
                raise InputError(busy.replace("{owner}", owner))
            # The last owner removes the file; then this lock is on a file without a name and counts for nothing.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                break
            os.close(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
    try:
        yield
    finally:
        if os.name == "posix":
            path.unlink(missing_ok=True)
            os.close(descriptor)
        else:  # an open file cannot be removed
            os.close(descriptor)
            path.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            # Far behind the owner's text, so that others can still read it.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            os.lseek(descriptor, 0, os.SEEK_SET)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        log.warning("this file system knows no locks: make sure that nothing else writes to the same world")
    return True


def _owner(path: Path) -> str:
    try:
        pid, host = path.read_text(errors="replace")[:300].split()
    except (OSError, ValueError):
        return ""
    return f" ({pid} on {host})" if pid.isdigit() else ""

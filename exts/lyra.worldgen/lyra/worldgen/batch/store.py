"""Where finished worlds are kept: a folder beside the manifest, or any place that fsspec can write to.

A world in a remote store is complete when its list of files is there, which is written last. A write that fails is
tried again; what was written before it does no harm, because the next attempt writes the same names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..core.errors import BackendError, InputError
from ..core.files import replacing
from ..core.manifest import MANIFEST_NAME
from ..core.optional import require
from ..core.world import load_world
from ..session.variation import LIST_NAME, read_list

T = TypeVar("T")
TRIES = 6
FIRST_PAUSE_S = 0.05
LISTS = "complete"
"""Folder of the lists of files in a remote store."""
PROBE = ".probe"
MAX_LIST_BYTES = 64 * 2**20
CHUNK_BYTES = 1 << 22


class Store(Protocol):
    """Keeps finished worlds by name."""

    def holds(self, name: str) -> bool:
        """Whether the whole world is there."""
        ...

    def put(self, folder: Path, name: str) -> None:
        """Keep the world in `folder`; raises `BackendError` when the store does not take it."""

    def where(self, name: str) -> str:
        """Path or URL of a world."""
        ...

    def read(self, name: str, file: str) -> bytes:
        """One file of a world."""
        ...


class FolderStore:
    """Worlds stay where they are made."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def holds(self, name: str) -> bool:
        folder = self.root / name
        try:
            names = [row["folder"] for row in read_list(folder)["worlds"]] if (folder / LIST_NAME).is_file() else ["."]
            worlds = [load_world(folder / variant) for variant in names]
            return all(world.check_files().ok for world in worlds) and (names != ["."] or worlds[0].finished)
        except InputError:
            return False

    def put(self, folder: Path, name: str) -> None:
        if folder != self.root / name:
            raise BackendError(f"the world was made in {folder}; expected {self.root / name}")

    def where(self, name: str) -> str:
        return str(self.root / name)

    def read(self, name: str, file: str) -> bytes:
        return (self.root / name / file).read_bytes()


class UrlStore:
    """Worlds below an fsspec URL: `s3://bucket/worlds`, `gs://...`, `file:///...`, `memory://...`."""

    def __init__(self, url: str, *, pause_s: float = FIRST_PAUSE_S, **options: Any) -> None:
        """
        Args:
            url: folder that takes the worlds.
            pause_s: before the first repetition of a failed write; doubles each time.
            options: of the file system, for example credentials.

        Raises:
            DependencyError: fsspec or the file system's package is missing.
            InputError: no file system has the URL's protocol.
        """
        fsspec = require("fsspec", extra="batch")
        try:
            self._fs, root = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError) as error:
            raise InputError(f"the store '{url}' cannot be used: {error}") from error
        self.url, self._root, self._pause_s = url.rstrip("/"), str(root).rstrip("/"), pause_s

    def expect_writable(self) -> None:
        """Write a small file and remove it; raises `BackendError` if the store does not take it."""
        probe = f"{self._root}/{LISTS}/{PROBE}"
        self._keep(lambda: self._write(probe, b""))
        # Whoever may write but not remove keeps an empty file that nothing looks at.
        with contextlib.suppress(Exception):
            self._fs.rm_file(probe)

    def holds(self, name: str) -> bool:
        files = self._list_of(name)
        if files is None:
            return False
        return all(self._size(f"{self._root}/{name}/{file}") == entry["size"] for file, entry in files.items())

    def put(self, folder: Path, name: str) -> None:
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"):
            relative = path.relative_to(folder).as_posix()
            files[relative] = self._keep(lambda path=path, to=f"{self._root}/{name}/{relative}": self._copy(path, to))
        text = json.dumps({"world": name, "files": files}, indent=1).encode()
        self._keep(lambda: self._write(f"{self._root}/{LISTS}/{name}.json", text))

    def where(self, name: str) -> str:
        return f"{self.url}/{name}"

    def fetch(self, name: str, folder: Path) -> None:
        """Bring a world to a folder, its manifest last.

        Raises:
            BackendError: the store does not hold all of it, or a file is not what its list says.
        """
        files = self._list_of(name)
        if files is None:
            raise BackendError(f"the store holds no whole world '{name}': {self.url}")
        inside = folder.resolve()
        for file in sorted(files, key=lambda file: (file == MANIFEST_NAME, file)):
            target = (inside / file).resolve()
            if not target.is_relative_to(inside):
                raise BackendError(f"the list of '{name}' names a file outside of it, '{file[:80]}': {self.url}")
            data = self._keep(lambda file=file: self.read(name, file))
            if len(data) != files[file]["size"]:
                raise BackendError(f"'{file}' of '{name}' is not as its list says: {self.url}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as sink:
                sink.write(data)

    def read(self, name: str, file: str) -> bytes:
        """One file of a world."""
        with self._fs.open(f"{self._root}/{name}/{file}", "rb") as stream:
            return stream.read()

    def _copy(self, path: Path, target: str) -> dict[str, Any]:
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with open(path, "rb") as source, self._fs.open(target, "wb") as sink:
            while block := source.read(CHUNK_BYTES):
                digest.update(block)
                size += len(block)
                sink.write(block)
        if self._size(target) != size:
            raise OSError(f"{target} has another size than what was written")
        return {"size": size, "sha256": digest.hexdigest()}

    def _write(self, target: str, data: bytes) -> None:
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        with self._fs.open(target, "wb") as sink:
            sink.write(data)

    def _list_of(self, name: str) -> dict[str, Any] | None:
        path = f"{self._root}/{LISTS}/{name}.json"
        try:
            size = self._size(path)
            if size is None or size > MAX_LIST_BYTES:
                return None
            with self._fs.open(path, "rb") as stream:
                files = json.loads(stream.read())["files"]
            return {str(file): {"size": int(entry["size"])} for file, entry in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _size(self, path: str) -> int | None:
        self._fs.invalidate_cache()
        try:
            return int(self._fs.info(path)["size"])
        except (OSError, KeyError, TypeError):
            return None

    def _keep(self, action: Callable[[], T]) -> T:
        """Do it, again after a pause when the store fails."""
        pause_s = self._pause_s
        for left in reversed(range(TRIES)):
            try:
                return action()
            # Every file system raises errors of its own, often of its network library.
            except Exception as error:
                if not left:
                    raise BackendError(
                        f"the store did not take or give a file after {TRIES} tries: {error}: {self.url}"
                    ) from error
                # Many workers that failed together should not come back together.
                time.sleep(pause_s * random.uniform(0.5, 1.5))
                pause_s *= 2
        raise AssertionError("the last try returns or raises")

"""Finished chunks of an exploration: where they are kept, so that a stopped run goes on and each can be undone."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from .errors import InputError
from .files import naming, sha256_json
from .store import load_view, save_view, view_path
from .views import RgbdView
from .world_writer import WorldWriter

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK_NAME = re.compile(r"\d{3,6}\Z")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one chunk added to the world."""

    views: tuple[RgbdView, ...]
    """Remembered views; their ids follow those of the chunk before without a gap."""
    Ts_world_path: np.ndarray
    """[P, 4, 4] way of the camera, for films."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values: which leg it belongs to, whether it ends it, what was painted."""
    film_mp4: bytes = b""
    """The chunk's frames as a film, where they form one."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What a painter needs to go on after this chunk; plain numbers of any shape."""
    seconds: float = 0.0
    """What making it took [s]; not kept as part of it."""


class ChunkStore(Protocol):
    """Where exploring keeps finished chunks. Each builds on those before it, so keeping one forgets all later ones."""

    def load_chunk(self, index: int, key: str) -> Chunk | None:
        """The finished chunk exactly as it was saved; None if there is none that was saved under this key."""
        ...

    def save_chunk(self, index: int, key: str, chunk: Chunk) -> None:
        """Keep a chunk for good; it is finished afterwards."""
        ...

    def keep_chunks(self, count: int) -> None:
        """Forget all but the first `count`."""
        ...

    def load_view(self, view_id: int) -> RgbdView:
        """One view of a saved chunk."""
        ...

    def load_arrays(self, name: str, key: str) -> dict[str, np.ndarray] | None:
        """Arrays that belong to all chunks, if they were saved under this key."""
        ...

    def save_arrays(self, name: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep plain arrays (numbers, any shape) under a name."""
        ...


class MemoryChunkStore:
    """A `ChunkStore` that lives as long as the process."""

    def __init__(self) -> None:
        self.chunks: dict[int, tuple[str, Chunk]] = {}
        self._arrays: dict[str, tuple[str, dict[str, np.ndarray]]] = {}
        self._views: dict[int, RgbdView] = {}

    def load_chunk(self, index: int, key: str) -> Chunk | None:
        found, chunk = self.chunks.get(index, ("", None))
        return chunk if found == key else None

    def save_chunk(self, index: int, key: str, chunk: Chunk) -> None:
        self.keep_chunks(index)
        self.chunks[index] = (key, chunk)
        self._views.update({view.view_id: view for view in chunk.views})

    def keep_chunks(self, count: int) -> None:
        self.chunks = {i: chunk for i, chunk in self.chunks.items() if i < count}

    def load_view(self, view_id: int) -> RgbdView:
        return self._views[view_id]

    def load_arrays(self, name: str, key: str) -> dict[str, np.ndarray] | None:
        found, arrays = self._arrays.get(name, ("", None))
        return arrays if found == key else None

    def save_arrays(self, name: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays[name] = (key, {k: np.array(a) for k, a in arrays.items()})


class FolderChunkStore:
    """A `ChunkStore` inside a world folder that is being written; each chunk is a part of its stage.

    Views lie where the finished world has them, so that nothing is written twice and one that is needed again can be
    read alone.
    """

    def __init__(self, writer: WorldWriter, *, stage: str, inputs: str) -> None:
        """
        Args:
            writer: of the world.
            stage: whose parts the chunks are.
            inputs: hash of what decides all of them.
        """
        self._writer, self._stage, self._inputs = writer, stage, inputs

    def load_chunk(self, index: int, key: str) -> Chunk | None:
        name = self._name(index)
        if not self._writer.is_done(name, self._hash(key)):
            return None
        record = self._writer.manifest.stages[name]
        folder = self._writer.folder
        views = sorted(file for file in record.files if file.startswith("memory/views/"))
        film = self._file(index, "mp4")
        arrays = read_arrays(folder / self._file(index, "npz"))
        return Chunk(
            views=tuple(load_view(folder / file) for file in views),
            Ts_world_path=arrays.pop("Ts_world_path"),
            arrays=arrays,
            facts=record.facts,
            film_mp4=(folder / film).read_bytes() if film in record.files else b"",
        )

    def save_chunk(self, index: int, key: str, chunk: Chunk) -> None:
        self.keep_chunks(index)
        with self._writer.stage(self._name(index), inputs=self._hash(key)) as notes:
            memory = notes.folder / "memory"
            path = notes.folder / self._file(index, "npz")
            with naming("write", memory):
                (memory / "views").mkdir(parents=True)
                path.parent.mkdir()
                with open(path, "wb") as file:
                    write_arrays(file, {**chunk.arrays, "Ts_world_path": chunk.Ts_world_path})
                if chunk.film_mp4:
                    path.with_suffix(".mp4").write_bytes(chunk.film_mp4)
            for view in chunk.views:
                save_view(view_path(memory, view.view_id), view)
            notes.facts = dict(chunk.facts)
            notes.seconds_before = chunk.seconds

    def keep_chunks(self, count: int) -> None:
        self._writer.drop_stages([name for index, name in self._chunk_names() if index >= count])

    def load_view(self, view_id: int) -> RgbdView:
        return load_view(view_path(self._writer.folder / "memory", view_id))

    def load_arrays(self, name: str, key: str) -> dict[str, np.ndarray] | None:
        part = f"{self._stage}/{name}"
        if not self._writer.is_done(part, self._hash(key)):
            return None
        return read_arrays(self._writer.folder / f"memory/{name}.npz")

    def save_arrays(self, name: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        with self._writer.stage(f"{self._stage}/{name}", inputs=self._hash(key)) as notes:
            path = notes.folder / "memory" / f"{name}.npz"
            with naming("write", path):
                path.parent.mkdir()
                with open(path, "wb") as file:
                    write_arrays(file, arrays)

    def chunk_facts(self) -> list[dict[str, Any]]:
        """Facts of all finished chunks in order."""
        return [self._writer.manifest.stages[name].facts for _, name in self._chunk_names()]

    def _chunk_names(self) -> list[tuple[int, str]]:
        return chunk_stages(self._writer.manifest.stages, self._stage)

    def _name(self, index: int) -> str:
        return f"{self._stage}/{index:03d}"

    def _file(self, index: int, suffix: str) -> str:
        return f"memory/chunks/{index:03d}.{suffix}"

    def _hash(self, key: str) -> str:
        return sha256_json([self._inputs, key])


def chunk_stages(stages: Mapping[str, Any], stage: str = "explore") -> list[tuple[int, str]]:
    """Number and name of every chunk among the stages of a manifest, in order."""
    found = []
    for name in stages:
        root, _, part = name.partition("/")
        if root == stage and _CHUNK_NAME.match(part):
            found.append((int(part), name))
    return sorted(found)


def write_arrays(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write plain arrays as `.npz` whose bytes depend on nothing else."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(arrays[name]), version=(1, 0), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote; the caller has checked the file's hash. Raises `InputError` if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"the file holds no plain arrays ({error}); remove it: {path}") from error

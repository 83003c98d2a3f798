"""A store of chunks that dies in the middle."""

from __future__ import annotations

from lyra.worldgen.core.chunks import MemoryChunkStore


class MortalStore(MemoryChunkStore):
    """Refuses to save more than `limit` chunks, as a killed process would."""

    def __init__(self, limit: int = 99) -> None:
        super().__init__()
        self.limit = limit

    def save_chunk(self, index, key, chunk):
        if len(self.chunks) >= self.limit:
            raise KeyboardInterrupt
        super().save_chunk(index, key, chunk)

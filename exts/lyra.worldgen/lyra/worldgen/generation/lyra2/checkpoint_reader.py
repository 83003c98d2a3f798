"""Opens foreign checkpoints of every kind: safetensors, torch's zip files, distributed checkpoints."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import InputError
from .checkpoint import Checkpoint
from .checkpoint_pickles import open_distributed, open_zip
from .checkpoint_safetensors import open_safetensors, open_shards


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint by its file or folder; reads headers only.

    Args:
        path: a .pth, .pt, .bin, .ckpt or .safetensors file, the index of sharded safetensors, a folder with one of
            these, or the folder of a distributed checkpoint.

    Raises:
        InputError: it is none of these, damaged or cut off; names the first bad key where the file still tells it.
    """
    if path.is_dir():
        if (path / ".metadata").is_file():
            return open_distributed(path)
        for pattern in ("*.safetensors.index.json", "*.safetensors", "*.pth", "*.pt"):
            found = sorted(path.glob(pattern))
            if len(found) > 1:
                raise InputError(f"the folder has {len(found)} files {pattern}; name one of them: {path}")
            if found:
                return open_checkpoint(found[0])
        raise InputError(
            f"the folder holds no checkpoint; expected .metadata, one .safetensors, .pth or .pt file, or an index of "
            f"shards: {path}"
        )
    if not path.is_file():
        raise InputError(f"there is no such checkpoint; check the path: {path}")
    if path.name.endswith(".index.json"):
        return open_shards(path)
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        return open_zip(path)
    raise InputError(
        f"'{path.suffix}' is no kind of checkpoint that is read; expected .pth, .pt or .safetensors: {path}"
    )

"""Captions of training films: pickles of the released layout, read without running anything in them, or plain JSON."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.files import naming
from ..core.optional import require
from .clips import Caption

MAX_BYTES = 1 << 30
MAX_CAPTIONS = 10_000
MAX_TEXT = 20_000
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError,
    MemoryError, OverflowError, RuntimeError, AssertionError,
)  # fmt: skip


class _Call:
    """A function that a pickle may call and not change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state for what has none")


# The one in Python, since the other asks for as much memory as a damaged pickle tells it to.
class _Unpickler(pickle._Unpickler):
    """Knows plain containers, text, numbers and torch's tensors."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("torch", "Size"): tuple,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module[:60]}.{name[:60]}")
        return _Call(allowed[module, name])


def read_caption_pickle(path: Path) -> dict[int, Caption]:
    """Captions by first frame of a pickle `{start: {frame_range, caption, embedding}}`.

    Nothing that the pickle names is imported or called: only containers, text, numbers and tensors are known.

    Raises:
        InputError: the file asks for anything else, is damaged, or holds something else.
    """
    with naming("read", path):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"captions hold {path.stat().st_size} bytes; at most {MAX_BYTES} are read: {path}")
        data = path.read_bytes()
    try:
        content = _Unpickler(io.BytesIO(data)).load()
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"captions are no pickle of texts and tensors ({reason[:160]}); nothing of it was run: {path}"
        ) from error
    return _captions(content, path)


def read_caption_json(path: Path) -> dict[int, Caption]:
    """Captions by first frame of a JSON object `{"0": "text", ...}`.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    with naming("read", path), open(path, "rb") as file:
        raw = file.read(MAX_BYTES + 1)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"captions are no JSON object of texts: {path}") from error
    return _captions(content, path)


def _captions(content: Any, path: Path) -> dict[int, Caption]:
    if not isinstance(content, dict) or not 0 < len(content) <= MAX_CAPTIONS:
        raise InputError(f"captions are a {type(content).__name__}; expected texts by first frame: {path}")
    found: dict[int, Caption] = {}
    for key, value in content.items():
        start = key if type(key) is int else int(key) if isinstance(key, str) and key.isdecimal() else -1
        entry = value if isinstance(value, dict) else {"caption": value}
        text, embedding = entry.get("caption", ""), entry.get("embedding")
        if start < 0 or not isinstance(text, str) or len(text) > MAX_TEXT:
            raise InputError(f"caption '{str(key)[:40]}' has no frame number or no text: {path}")
        found[start] = Caption(text=text, embedding=_embedding(embedding, start, path))
    return dict(sorted(found.items()))


def _embedding(value: Any, start: int, path: Path) -> np.ndarray | None:
    if value is None:
        return None
    torch = require("torch", extra="train")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise InputError(f"embedding of caption {start} is a {type(value).__name__}; expected a tensor: {path}")
    array = value.detach().float().numpy()
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError(f"embedding of caption {start} has shape {array.shape}; expected [tokens, width]: {path}")
    return array


def _storage(data: Any) -> Any:
    """A tensor's numbers; torch's own reader of nothing but weights takes them out."""
    torch = require("torch", extra="train")
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("a storage that is no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of pickles that it does not expect, and then refuses them
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Any:
    torch = require("torch", extra="train")
    whole = (offset, *shape, *stride)
    if not isinstance(storage, torch.storage.TypedStorage) or any(type(n) is not int or n < 0 for n in whole):
        raise pickle.UnpicklingError("a tensor without a storage, or of an odd shape")
    reach = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1 if 0 not in shape else 0
    numbers = storage._untyped_storage
    if reach * storage.dtype.itemsize > numbers.nbytes():
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return torch.tensor([], dtype=storage.dtype).set_(numbers, offset, tuple(shape), tuple(stride))

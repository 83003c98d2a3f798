"""Files of foreign weights: whether a model is whole, how large it is, which variant it comes in.

Nothing is loaded here; headers and indices are read with the standard library.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, InputError
from ..core.files import explain_os_error
from .weights import reason_of

OPTIONAL_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that a pipeline's index may name although their folders were left out."""
_MAX_HEADER_BYTES = 100 << 20
_WEIGHT_FILE = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?(?:\.(?P<old>\w+))?"
    r"\.(?P<kind>safetensors|bin)"
)


@dataclass(frozen=True, kw_only=True)
class WeightsSize:
    """How much there is to hold in memory, whatever number type the files are in."""

    parameters: int
    largest_part: int
    """Parameters of the largest of the parts that need not be in memory at the same time."""


def pipeline_index(folder: Path) -> dict[str, Any]:
    """What `model_index.json` says; raises `InputError` when it is unreadable or names no class."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"model_index.json cannot be read ({type(error).__name__}); copy the model again: {path}"
        ) from error
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise InputError(
            f"model_index.json names no pipeline class; expected the index of a diffusers pipeline: {path}"
        )
    return index


def expect_whole_pipeline(folder: Path) -> None:
    """Check that every part that the index names has its files; raises `InputError` that names what is missing."""
    for part in _parts(folder):
        place = folder / part
        if not place.is_dir():
            if part in OPTIONAL_PARTS:
                continue
            raise InputError(f"the model lacks its part '{part}'; copy or fetch the whole model: {place}")
        if (place / "config.json").is_file() and not weight_files(place):
            raise InputError(
                f"the model's part '{part}' has no weights file (.safetensors or .bin); copy or fetch the whole model: "
                f"{place}"
            )
        for listing in place.glob("*.index.json"):
            for shard in _shards(listing):
                if not (place / shard).is_file():
                    raise InputError(
                        f"the model's part '{part}' lacks {shard[:80]}; copy or fetch the whole model: {place}"
                    )


def absent_parts(folder: Path) -> list[str]:
    """Optional parts that the index names but that were left out of the folder."""
    return [part for part in _parts(folder) if part in OPTIONAL_PARTS and not (folder / part).is_dir()]


def pipeline_size(folder: Path) -> WeightsSize:
    """Size of a pipeline's weights from the headers of its files; raises `BackendError` for damaged ones."""
    parts = [sum(_parameters(file) for file in weight_files(folder / part)) for part in _parts(folder)]
    return WeightsSize(parameters=sum(parts), largest_part=max(parts, default=0))


def model_size(place: Path) -> WeightsSize | None:
    """Size of a model that is one file, or the folder of one part; None where no file says it.

    Raises:
        InputError: a file cannot be read.
        BackendError: a file is damaged.
    """
    files = [place] if place.is_file() else weight_files(place)
    if not files:
        return None
    total = sum(_parameters(file) for file in files)
    return WeightsSize(parameters=total, largest_part=total)


def pipeline_variant(folder: Path) -> str | None:
    """Name of the variant to ask for, when some part exists in that variant only (such as fp16), else None."""
    for part in _parts(folder):
        for file in weight_files(folder / part):
            if variant := _variant(file):
                return variant
    return None


def weight_files(place: Path) -> list[Path]:
    """Files that hold the weights of one part: safetensors before pickles, plain ones before variants."""
    found: dict[tuple[bool, str], list[Path]] = {}
    for path in sorted(place.glob("*")) if place.is_dir() else []:
        match = _WEIGHT_FILE.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault((match["kind"] == "bin", _variant(path)), []).append(path)
    return found[min(found)] if found else []


def _parts(folder: Path) -> list[str]:
    """Names of the parts that the index says are loaded from sub-folders."""
    return [
        name
        for name, entry in sorted(pipeline_index(folder).items())
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)
    ]


def _variant(path: Path) -> str:
    match = _WEIGHT_FILE.fullmatch(path.name)
    return (match["variant"] or match["old"] or "") if match else ""


def _shards(listing: Path) -> list[str]:
    try:
        shards = {str(name) for name in json.loads(listing.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"a list of weight files cannot be read; copy or fetch the whole model: {listing}") from error
    return sorted(shards)


def _parameters(path: Path) -> int:
    """Numbers in a weights file."""
    try:
        size = path.stat().st_size
        if path.suffix != ".safetensors":
            return size // 2  # a pickle does not say; two bytes each is the larger count
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError("header is longer than the file")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
        if 8 + length + end != size:
            raise ValueError(f"{size} bytes, expected {8 + length + end}")
        return sum(math.prod(entry["shape"]) for entry in tensors)
    except OSError as error:
        raise InputError(f"a weights file cannot be read ({explain_os_error(error)}): {path}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BackendError(f"a weights file is damaged ({reason_of(error)}); copy or fetch it again: {path}") from error

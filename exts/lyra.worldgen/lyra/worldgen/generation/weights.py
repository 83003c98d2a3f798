"""Foreign weights on this machine: where they lie, whether they are whole, how large they are, what licence they bear.

Nothing is loaded here; headers and cards are read with the standard library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BackendError, ConfigError, DependencyError, InputError, WorldgenError
from ..core.files import explain_os_error
from ..core.optional import require

OPTIONAL_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts that a pipeline's index may name although their folders were left out."""
_MAX_HEADER_BYTES = 100 << 20
_MAX_CARD_BYTES = 1 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CACHED = re.compile(r"models--(.+?)--(.+)")
_WEIGHT_FILE = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?(?:\.(?P<old>\w+))?"
    r"\.(?P<kind>safetensors|bin)"
)
_SPDX = {
    text.lower(): text
    for text in (
        "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0",
    )
}  # fmt: skip
"""SPDX ids by the lower-case form that model cards use."""
_LICENCE_TITLES = (("apache license", "Apache-2.0"), ("mit license", "MIT"))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model that lies on this machine."""

    folder: Path
    name: str
    """Hub id, or the folder's name."""
    licence: str
    """SPDX id where the card names one, else its words, else "unknown: see <model>"."""


@dataclass(frozen=True, kw_only=True)
class WeightsSize:
    """How much there is to hold in memory, whatever number type the files are in."""

    parameters: int
    largest_part: int
    """Parameters of the largest of the parts that need not be in memory at the same time."""


def find_weights(
    key_path: str, value: str, *, index_name: str, download: bool, fetch: Callable[[str], str | Path]
) -> Weights:
    """The model that a setting names: a folder, or a hub id whose files are in the local cache or may be fetched.

    Args:
        key_path: the setting, for messages.
        value: what it holds.
        index_name: file that every such model has.
        download: whether `fetch` may be called.
        fetch: brings the model of a hub id to this machine and returns its folder.

    Raises:
        ConfigError: the setting is empty, or a model that is not here may not be fetched.
        InputError: there is no such folder, or it does not hold such a model.
        BackendError: fetching failed.
    """
    if not value.strip():
        raise ConfigError(f"{key_path} is empty; give a local folder or a hub id with weights")
    folder = Path(value).expanduser()
    name = value
    if folder.is_file():
        raise InputError(
            f"{key_path} is a file; expected a folder with {index_name} as save_pretrained makes it: {value}"
        )
    if folder.is_dir():
        name = _folder_name(folder)
    elif _HUB_ID.fullmatch(value):
        folder = _from_hub(key_path, value, index_name, download, fetch)
    else:
        raise InputError(f"{key_path} names a folder that does not exist; check the path: {value}")
    if not (folder / index_name).is_file():
        raise InputError(
            f"{key_path} holds no {index_name}, so it is no folder of such a model; check the path: {folder}"
        )
    return Weights(folder=folder, name=name, licence=read_licence(folder, name))


def pipeline_index(folder: Path) -> dict[str, Any]:
    """What `model_index.json` says; raises `InputError` when it is unreadable or names no class."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"model_index.json cannot be read ({type(error).__name__}); copy the model again: {path}"
        ) from (error)
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


def read_licence(folder: Path, name: str) -> str:
    """What the model card or a licence file says about the weights' licence, in one short line."""
    import yaml

    card = _text(folder / "README.md")
    front = re.match(r"\s*---\s*\n(.*?)\n---\s*(?:\n|$)", card, re.DOTALL)
    try:
        values = yaml.safe_load(front[1]) if front else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        values = {}
    if isinstance(values, dict):
        text = values.get("license")
        if text in (None, "other", "unknown"):
            text = values.get("license_name") or values.get("license_link") or None
        if text:
            named = [" ".join(str(part).split()) for part in (text if isinstance(text, list) else [text])]
            return " AND ".join(_SPDX.get(part.lower(), part) for part in named)[:120]
    for path in sorted(folder.glob("LICEN[CS]E*")):
        lines = [line.strip(" #*\t") for line in _text(path).splitlines()]
        title = next((line for line in lines if line), "")
        if title:
            return next((spdx for start, spdx in _LICENCE_TITLES if title.lower().startswith(start)), title[:120])
    return f"unknown: see {name}"


def _from_hub(key_path: str, hub_id: str, index_name: str, download: bool, fetch: Callable[[str], str | Path]) -> Path:
    hub = require("huggingface_hub", extra="models")
    cached = hub.try_to_load_from_cache(hub_id, index_name)
    folder = Path(cached).parent if isinstance(cached, str) else None
    if not download:
        if folder is None:
            raise ConfigError(
                f"{key_path} is '{hub_id}', which is neither a folder nor in the local cache; pass --download "
                "(models.download) to fetch it, or give a folder"
            )
        return folder
    try:
        return Path(fetch(hub_id))
    except (WorldgenError, KeyboardInterrupt):
        raise
    except ImportError as error:
        raise DependencyError(f"{key_path} cannot be fetched: {error}") from error
    except Exception as error:
        if folder is not None:  # fetched earlier; being offline today does no harm
            return folder
        raise BackendError(
            f"{key_path} '{hub_id}' could not be fetched ({_first_line(error)}); check the name and the network, log "
            "in to the hub if the model asks for it, or give a local folder"
        ) from error


def _folder_name(folder: Path) -> str:
    """Name of a model by its folder; a snapshot inside a hub cache gives its hub id."""
    for part in reversed(folder.parts):
        if match := _CACHED.fullmatch(part):
            return f"{match[1]}/{match[2]}"
    return folder.resolve().name


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
        raise BackendError(
            f"a weights file is damaged ({_first_line(error)}); copy or fetch it again: {path}"
        ) from error


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_CARD_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300].rstrip(": ")

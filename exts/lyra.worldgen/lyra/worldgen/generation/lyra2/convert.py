"""Released files of Lyra 2.0 become a folder that is loaded part by part (our notes, 3.8 and 3.9).

Everything is checked from headers before a byte is written; then tensors pass through one at a time, into a folder
beside the final one that is renamed when it is whole. Running it again does nothing; giving more parts adds them.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.files import naming, sync_folder, write_json
from ...core.optional import require
from ...core.progress import SILENT, SupportsProgress
from . import checkpoint_keys as keys
from .checkpoint import FLOATS, Checkpoint, TensorInfo, bad
from .checkpoint_reader import open_checkpoint
from .lora import AdapterFile, open_adapter
from .model_folder import FORMAT, INDEX, LICENCE, NEGATIVE, NEGATIVE_KEY, PARTS, Lyra2Folder
from .shard_writer import SHARD_BYTES, write_shards
from .text import TEXT_TOKENS

log = logging.getLogger(__name__)

RELEASED_NEGATIVE_KEY = "t5_text_embeddings"
TOKENIZER_FILES = (
    "tokenizer_config.json", "tokenizer.json", "spiece.model", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_MODELS = ("transformer", "vae", "text_encoder", "image_encoder")
_RELEASED_HEAD_WIDTH = 128
_LISTED_KEYS = 200
_HASH_BYTES = 16 << 20
_CHECKPOINT = ("*.safetensors.index.json", "*.safetensors", "*.pth", "*.pt")
_PLAIN_NAME = re.compile(r"\w[\w. -]*\.safetensors", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ReleaseFiles:
    """Where the released parts lie; None for what is not there."""

    transformer: Path | None = None
    """Folder of a distributed checkpoint, a .pth file, or safetensors."""
    vae: Path | None = None
    text_encoder: Path | None = None
    image_encoder: Path | None = None
    negative_prompt: Path | None = None
    tokenizer: Path | None = None
    """Folder of google/umt5-xxl, which is not part of the release."""
    lora: tuple[Path, ...] = ()

    def given(self) -> dict[str, Path]:
        """What is there, by the name of the part in a converted folder."""
        found = {name: getattr(self, name.removesuffix(".safetensors")) for name in PARTS}
        found |= {f"lora/{path.name}": path for path in self.lora}
        return {name: path for name, path in found.items() if path is not None}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did."""

    folder: Path
    index: dict[str, Any]
    """Content of `lyra2.json`."""
    written: tuple[str, ...]
    kept: tuple[str, ...]
    """Parts that were there already, from the same files."""

    def rows(self) -> list[tuple[str, ...]]:
        """The key report as rows of a table."""
        rows: list[tuple[str, ...]] = [("part", "taken", "ignored", "missing", "unexpected", "size", "")]
        for name, part in self.index["parts"].items():
            report = part["keys"]
            counts = (str(report[kind]) for kind in ("taken", "ignored", "missing", "unexpected"))
            state = "written" if name in self.written else "already there"
            rows.append((name, *counts, f"{part['bytes'] / 2**20:.1f} MiB", state))
        return rows


@dataclass
class _Part:
    """One part on its way: what comes from which tensor, and what was found beside it."""

    name: str
    source: Path
    stem: str = ""
    save_config: Callable[[Path], Any] | None = None
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    read: Callable[[str], Any] | None = None
    copies: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    taken: int = 0
    ignored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(info.bytes for info in self.tensors.values()) + sum(file.stat().st_size for file in self.copies)


def find_release(folder: Path) -> ReleaseFiles:
    """The parts in a copy of the released repository, or of its folder `checkpoints`.

    Raises:
        InputError: none of the released names is there.
    """
    if not folder.is_dir():
        raise InputError(f"the release is no folder; expected a copy of the model repository: {folder}")
    base = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    models = [base / "model" / "model", base / "model"]
    tokenizers = [base / "tokenizer", base / "text_encoder" / "tokenizer", folder / "tokenizer"]
    found = ReleaseFiles(
        transformer=next((place for place in models if _is_checkpoint(place)), None),
        vae=_file(base / "vae" / "vae.pth"),
        text_encoder=_file(base / "text_encoder" / "encoder.pth"),
        image_encoder=_file(base / "image_encoder" / "model.pth"),
        negative_prompt=_file(base / "text_encoder" / "negative_prompt.pt"),
        tokenizer=next((place for place in tokenizers if (place / "tokenizer_config.json").is_file()), None),
        lora=tuple(sorted((base / "lora").glob("*.safetensors"))),
    )
    if not found.given():
        raise InputError(
            "the folder holds nothing of Lyra 2.0; expected checkpoints/model/model, checkpoints/vae/vae.pth, "
            "checkpoints/text_encoder/encoder.pth and negative_prompt.pt, checkpoints/image_encoder/model.pth, or give "
            f"each part by its own option: {folder}"
        )
    return found


def convert(
    release: ReleaseFiles,
    out: Path,
    *,
    layout: str | None = None,
    heads: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: SupportsProgress = SILENT,
) -> Conversion:
    """Convert parts of the release into a folder, or add them to one.

    Number types stay as they are.

    Args:
        release: where the parts lie.
        out: the folder; a new one, or one that was converted before.
        layout: context layout of the network, where it is not the released one.
        heads: attention heads of the network, where they are not 128 wide.
        shard_bytes: most that a file of weights holds.
        progress: told about every step.

    Raises:
        InputError: a part is damaged, of another model, or lacks a tensor (the first one is named), the folder holds
            something else, or the disk is full; `out` is as it was.
        DependencyError: a package is missing.
        Cancelled: the user stopped it; `out` is as it was.
    """
    given = release.given()
    if not given:
        raise InputError(f"there is nothing to convert; name a release or at least one part for {out}")
    before = _existing(out)
    with ExitStack() as opened:
        parts = []
        shapes: keys.Shapes | None = None
        if release.lora and before is not None and "transformer" in before["parts"]:
            empty = Lyra2Folder.open(out, parts=("transformer",)).empty_transformer()
            shapes = {key: tuple(tensor.shape) for key, tensor in empty.state_dict().items()}
        for name, source in given.items():
            parts.append(_inspect(name, source, opened, layout=layout, heads=heads, shapes=shapes))
            if name == "transformer":
                shapes = {key: info.shape for key, info in parts[-1].tensors.items()}
        meter = _Meter(progress, sum(f.stat().st_size for part in parts for f in part.files))
        sources = {part.name: [_source(file, part.source, meter) for file in part.files] for part in parts}
        fresh = []
        for part in parts:
            old = before["parts"].get(part.name) if before is not None else None
            if old is None or not (out / part.name).exists():
                fresh.append(part)
            elif not isinstance(old, dict) or old.get("sources") != sources[part.name]:
                raise InputError(
                    f"the folder holds another {part.name} already; choose another --out or delete that part: {out}"
                )
        index = _write(out, fresh, sources, before, shard_bytes, progress)
    names = [part.name for part in fresh]
    return Conversion(
        folder=out, index=index, written=tuple(names), kept=tuple(name for name in given if name not in names)
    )


# --- Looking at what is given --------------------------------------------------------------------------------------


def _inspect(
    name: str, source: Path, opened: ExitStack, *, layout: str | None, heads: int | None, shapes: keys.Shapes | None
) -> _Part:
    """A part as it will be written; raises `InputError` where it cannot be."""
    if name == "tokenizer":
        return _tokenizer(source)
    if name.startswith("lora/"):
        return _adapter(name, source, shapes)
    file = opened.enter_context(open_checkpoint(source))
    if name == NEGATIVE:
        return _negative(source, file)
    bare: dict[str, str] = {}
    part = _Part(name=name, source=source, files=file.files)
    for key in file.tensors:
        plain = keys.bare_key(key)
        if plain is None or (name == "image_encoder" and keys.vision_ignored(plain)):
            part.ignored.append(key)
        elif plain in bare:
            raise bad(key, f"is there twice, also as '{bare[plain][:200]}'", source)
        else:
            bare[plain] = key
    part.ignored += file.others
    found = {plain: file.tensors[key].shape for plain, key in bare.items()}
    try:
        model, names = _model(name, found, layout=layout, heads=heads)
    except InputError as error:
        raise InputError(f"the file given as {name} is none: {error}: {source}") from error
    part.stem = "model" if name in ("text_encoder", "image_encoder") else "diffusion_pytorch_model"
    part.save_config = model.save_config if hasattr(model, "save_config") else model.config.save_pretrained

    _plan(part, names, {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}, bare, file)
    return part


def _plan(
    part: _Part, names: Sequence[keys.Name], ours: keys.Shapes, bare: Mapping[str, str], file: Checkpoint
) -> None:
    """Say what is written and from where, in the order of the source; raises `InputError` naming the first bad key."""
    remedy = "check that the file is the released one"
    if part.name == "transformer":
        remedy += ", or name the layout and the heads of another network (--layout, --heads)"
    origin: dict[str, tuple[keys.Name, int]] = {}
    by_release = {name.release: name for name in names}
    for name in names:
        key = bare.get(name.release)
        if key is None:
            if not name.optional:
                raise bad(name.release, f"is missing from the {part.name}", part.source, remedy)
            part.missing.append(name.release)
            part.tensors |= {mine: TensorInfo(shape=ours[mine], dtype="float32") for mine in name.ours}
            continue
        expected, info = keys.release_shape(name, ours), file.tensors[key]
        if info.shape != expected:
            raise bad(key, f"has shape {info.shape}, expected {expected}", part.source, remedy)
        if info.dtype not in FLOATS:
            raise bad(
                key, f"has the number type {info.dtype}, expected one of {', '.join(FLOATS)}", part.source, remedy
            )
    for plain, key in bare.items():
        name = by_release.get(plain)
        if name is None:
            part.unexpected.append(key)
            continue
        part.taken += 1
        for i, mine in enumerate(name.ours):
            part.tensors[mine] = TensorInfo(shape=ours[mine], dtype=file.tensors[key].dtype)
            origin[mine] = name, i
    last: dict[str, list[Any]] = {}

    def read(mine: str) -> Any:
        torch = require("torch", extra="models")
        if mine not in origin:
            fill = torch.ones if mine.endswith("weight") else torch.zeros
            return fill(ours[mine], dtype=torch.float32)
        name, i = origin[mine]
        if name.release not in last:
            last.clear()
            last[name.release] = keys.split(name, file.read(bare[name.release]))
        return last[name.release][i]

    part.read = read
    if part.unexpected:
        first = part.unexpected[0][:200]
        log.warning("%s: %d unknown tensors are left out, the first is %s", part.name, len(part.unexpected), first)


def _model(name: str, found: keys.Shapes, *, layout: str | None, heads: int | None) -> tuple[Any, list[keys.Name]]:
    """The empty network that these shapes belong to, and the names of its tensors."""
    torch = require("torch", extra="models")
    with torch.device("meta"):
        if name == "vae":
            config = keys.vae_config(found)
            return require("diffusers", extra="models").AutoencoderKLWan(**config), keys.vae_names(config)
        if name in ("text_encoder", "image_encoder"):
            transformers = require("transformers", extra="models")
            if name == "text_encoder":
                model = transformers.UMT5EncoderModel(transformers.UMT5Config(**keys.text_config(found)))
                names = keys.text_names(model.config.num_layers)
            else:
                model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**keys.vision_config(found)))
                names = keys.vision_names(model.config.num_hidden_layers)
            model.config.architectures = [type(model).__name__]
            return model, names
        require("diffusers", extra="models")
        from ..context_layout import RELEASED
        from .transformer import Lyra2Transformer3DModel

        config = keys.backbone_config(found)
        if heads is None and config["width"] % _RELEASED_HEAD_WIDTH:
            raise InputError(f"it is {config['width']} wide, no multiple of 128; give its number of heads (--heads)")
        config["heads"] = heads or config["width"] // _RELEASED_HEAD_WIDTH
        config["layout"] = layout or RELEASED
        model = Lyra2Transformer3DModel(**config)
        return model, keys.same_names(model.state_dict())


def _negative(source: Path, file: Checkpoint) -> _Part:
    key = next((key for key in file.tensors if key.rpartition(".")[2] == RELEASED_NEGATIVE_KEY), None)
    if key is None:
        raise InputError(f"the negative prompt lacks '{RELEASED_NEGATIVE_KEY}'; expected negative_prompt.pt: {source}")
    info = file.tensors[key]
    if len(info.shape) != 3 or info.shape[:2] != (1, TEXT_TOKENS) or info.dtype not in FLOATS:
        raise bad(key, f"is {info.dtype} of shape {info.shape}, expected floats of (1, {TEXT_TOKENS}, width)", source)
    others = [other for other in file.tensors if other != key]
    return _Part(
        name=NEGATIVE,
        source=source,
        stem=NEGATIVE.removesuffix(".safetensors"),
        tensors={NEGATIVE_KEY: info},
        read=lambda _: file.read(key),
        files=file.files,
        taken=1,
        ignored=file.others,
        unexpected=others,
    )


def _tokenizer(source: Path) -> _Part:
    there = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    names = {path.name for path in there}
    if "tokenizer_config.json" not in names or not names & {"tokenizer.json", "spiece.model"}:
        raise InputError(
            f"the tokenizer lacks tokenizer_config.json with tokenizer.json or spiece.model; expected a copy of "
            f"google/umt5-xxl: {source}"
        )
    return _Part(name="tokenizer", source=source, copies=there, files=there)


def _adapter(name: str, source: Path, shapes: keys.Shapes | None) -> _Part:
    if not _PLAIN_NAME.fullmatch(source.name):
        raise InputError(f"an adapter is no .safetensors file with a plain name; rename it: {source}")
    file = open_checkpoint(source)
    dropped: tuple[str, ...] = ()
    if shapes is not None:
        dropped = open_adapter(AdapterFile(path=source), shapes).dropped
    return _Part(
        name=name, source=source, copies=[source], files=[source], taken=len(file.tensors), ignored=list(dropped)
    )


def _is_checkpoint(place: Path) -> bool:
    return (place / ".metadata").is_file() or any(any(place.glob(pattern)) for pattern in _CHECKPOINT)


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _existing(out: Path) -> dict[str, Any] | None:
    """What was converted into the folder before; raises `InputError` where something else is there."""
    if not out.exists() and not out.is_symlink():
        return None
    if out.is_dir() and not any(out.iterdir()):
        return None
    if not out.is_dir() or not (out / INDEX).is_file():
        raise InputError(f"there is something else already; choose a new folder for --out: {out}")
    index = Lyra2Folder.open(out, key="--out", parts=()).index
    if not isinstance(index.get("parts"), dict):
        raise InputError(f"{INDEX} names no parts; delete the folder and convert again: {out}")
    return index


# --- Writing -------------------------------------------------------------------------------------------------------


class _Meter:
    """Counts bytes for a bar."""

    def __init__(self, progress: SupportsProgress, total: int, stage: str = "checking") -> None:
        self._progress, self._total, self._stage, self._done = progress, max(total, 1), stage, 0
        progress.step(stage, 0, self._total)

    def add(self, count: int, note: str = "") -> None:
        self._done += count
        self._progress.step(self._stage, min(self._done, self._total), self._total, note)


def _source(file: Path, source: Path, meter: _Meter) -> dict[str, Any]:
    """Name, size and hash of a source file; the name says nothing about this machine."""
    digest = hashlib.sha256()
    with naming("read", file), open(file, "rb") as stream:
        while data := stream.read(_HASH_BYTES):
            digest.update(data)
            meter.add(len(data), file.name)
    inside = file.relative_to(source) if source.is_dir() else Path(file.name)
    return {"file": inside.as_posix(), "bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def _write(
    out: Path,
    parts: Sequence[_Part],
    sources: Mapping[str, Any],
    before: dict[str, Any] | None,
    shard_bytes: int,
    progress: SupportsProgress,
) -> dict[str, Any]:
    """Write the parts aside, then give them their names; returns the new index."""
    if not parts:
        assert before is not None, "every part was there"
        return before
    aside = out.with_name(f".{out.name}.part")
    need = sum(part.bytes for part in parts)
    with naming("write", aside):
        out.parent.mkdir(parents=True, exist_ok=True)
        if aside.exists():  # left by a run that was killed
            shutil.rmtree(aside)
        free = shutil.disk_usage(out.parent).free
        if need > free:
            raise InputError(
                f"the converted parts take {need / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free; choose another "
                f"disk: {out}"
            )
        aside.mkdir()
    try:
        meter = _Meter(progress, need, "converting")
        for part in parts:
            _write_part(aside, part, shard_bytes, meter)
        described = {part.name: _describe(part, sources[part.name]) for part in parts}
        known = {} if before is None else before["parts"]
        order = [*PARTS, *sorted(name for name in known | described if name.startswith("lora/"))]
        merged = {name: (known | described)[name] for name in order if name in known | described}
        index = {"format": FORMAT, "model": "Lyra 2.0", "licence": LICENCE, "parts": merged}
        with naming("write", out):
            _rename(aside, out, index, new=before is None)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return index


def _write_part(aside: Path, part: _Part, shard_bytes: int, meter: _Meter) -> None:
    flat = part.name == NEGATIVE
    place = aside if flat else aside / part.name
    if part.name.startswith("lora/"):
        place = aside / "lora"
    with naming("write", place):
        place.mkdir(exist_ok=True)
        for file in part.copies:
            shutil.copyfile(file, place / file.name)
            meter.add(file.stat().st_size, part.name)
    if part.read is None:
        return
    if part.save_config is not None:
        part.save_config(place)
    limit = max(shard_bytes, part.bytes) if flat else shard_bytes
    write_shards(
        place,
        part.stem,
        part.tensors,
        part.read,
        shard_bytes=limit,
        wrote=lambda count: meter.add(count, part.name),
    )


def _describe(part: _Part, sources: Any) -> dict[str, Any]:
    counts = {
        "taken": part.taken,
        "ignored": len(part.ignored),
        "missing": len(part.missing),
        "unexpected": len(part.unexpected),
    }
    listed = {
        f"{kind}_keys": sorted(getattr(part, kind))[:_LISTED_KEYS]
        for kind in ("ignored", "missing", "unexpected")
        if getattr(part, kind)
    }
    return {
        "sources": sources,
        "bytes": part.bytes,
        "parameters": sum(math.prod(info.shape) for info in part.tensors.values()),
        "keys": counts | listed,
    }


def _rename(aside: Path, out: Path, index: dict[str, Any], *, new: bool) -> None:
    """A new folder appears in one step; an older one gets its new parts first and the index that names them last."""
    if new:
        write_json(aside / INDEX, index)
        if out.is_dir():
            out.rmdir()  # it is empty
        aside.rename(out)
    else:
        for place in sorted(aside.iterdir()):
            if place.name == "lora":
                (out / "lora").mkdir(exist_ok=True)
                for file in sorted(place.iterdir()):
                    file.replace(out / "lora" / file.name)
                place.rmdir()
                continue
            if (out / place.name).is_dir():  # left by a run that ended before its index was written
                shutil.rmtree(out / place.name)
            place.replace(out / place.name)
        aside.rmdir()
        write_json(out / INDEX, index)
    sync_folder(out.parent)

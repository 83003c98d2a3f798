"""A converted Lyra 2.0: the folder that `tools/convert_lyra2.py` writes, checked when opened and loaded in parts.

Folders come from anywhere: every file has to lie inside, sizes in configurations are bounded, and weights are held
against the network that the configuration describes before any of them is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import BackendError, InputError
from ...core.files import explain_os_error
from ...core.optional import require
from ..weights import Weights, reason_of
from ..weights_files import WeightsSize, model_size
from .checkpoint import FLOATS, Checkpoint, bad
from .checkpoint_keys import Shapes
from .checkpoint_reader import open_checkpoint
from .lora import Adapter, AdapterFile, folded, open_adapter
from .text import TEXT_TOKENS, TextEncoder
from .vae_stream import StreamingVae
from .vision import ImageEncoder

INDEX = "lyra2.json"
FORMAT = 1
LICENCE = "NVIDIA Internal Scientific Research and Development Model License (research only, not commercial)"
NEGATIVE = "negative_prompt.safetensors"
NEGATIVE_KEY = "text"
PARTS = {
    "transformer": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "image_encoder": "config.json",
    NEGATIVE: "",
}
"""What a folder consists of, with the file that says what a sub-folder is."""
_MAX_JSON_BYTES = 16 << 20
_MAX_FILES = 10_000
_MAX_NUMBER = 1 << 24
_MAX_LAYERS = 1024
_PLAIN_NAME = re.compile(r"\w[\w. -]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Lyra2Folder:
    """A folder that was found whole."""

    path: Path
    weights: Weights
    """The folder as a setting names it, for messages and provenance."""
    index: dict[str, Any] = field(repr=False)
    """What `lyra2.json` says."""

    @classmethod
    def open(cls, path: Path | str, *, key: str = "models.painter", parts: Sequence[str] = tuple(PARTS)) -> Lyra2Folder:
        """Check a folder; looks at names and headers and loads nothing.

        Args:
            path: the folder.
            key: key path of the setting that names it.
            parts: what is needed; training, for example, can do without a tokenizer.

        Raises:
            InputError: it is no such folder, something is missing or damaged, or a link leads out of it.
        """
        folder = Path(path).expanduser()
        weights = Weights(given=str(path), name=folder.resolve().name, key=key, path=folder, download=False)
        if not folder.is_dir():
            raise InputError(f"{key} is no folder; expected one that tools/convert_lyra2.py wrote: {path}")
        index_path = folder / INDEX
        if not index_path.is_file():
            raise InputError(
                f"{key} holds no {INDEX}, so it is no converted Lyra 2.0; convert the released files with: "
                f"python tools/convert_lyra2.py RELEASE --out FOLDER: {path}"
            )
        _expect_inside(folder)
        index = _json(index_path)
        if index.get("format") != FORMAT:
            raise InputError(
                f"{INDEX} has format {str(index.get('format'))[:40]}; this version reads format {FORMAT}: convert the "
                f"released files again: {index_path}"
            )
        missing = [part for part in parts if not _present(folder, part)]
        if missing:
            raise InputError(
                f"{key} lacks {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'} with "
                f"tools/convert_lyra2.py ({', '.join(_flag(part) for part in missing)}) and the same --out: {path}"
            )
        return cls(path=folder, weights=weights, index=index)

    @property
    def licence(self) -> str:
        """Licence of the weights, as the conversion recorded it."""
        return str(self.index.get("licence") or f"unknown: see {self.weights.name}")[:200]

    def size(self, part: str) -> WeightsSize:
        """How much a part holds in memory; raises `BackendError` where its files are damaged."""
        size = model_size(self.path / part)
        if size is None:
            raise InputError(f"the part '{part}' has no weights; convert the released files again: {self.path}")
        return size

    def config(self, part: str) -> dict[str, Any]:
        """Configuration of a part; raises `InputError` where it is unreadable or absurd."""
        path = self.path / part / "config.json"
        config = _json(path)
        _expect_sane(config, path)
        return config

    def loras(self) -> dict[str, Path]:
        """Adapters that lie in the folder, by name."""
        return {file.stem: file for file in sorted((self.path / "lora").glob("*.safetensors")) if file.is_file()}

    def adapters(self, chosen: Sequence[tuple[str, float]]) -> list[Adapter]:
        """Adapters by name and factor, opened and held against the network.

        Raises:
            InputError: a name is unknown, or an adapter does not fit.
        """
        there = self.loras()
        shapes = {name: tuple(tensor.shape) for name, tensor in self.empty_transformer().state_dict().items()}
        opened = []
        for name, factor in chosen:
            if name not in there:
                known = f"expected one of {', '.join(there)}" if there else "the folder lora is empty"
                raise InputError(f"there is no adapter '{name[:80]}'; {known}: {self.path}")
            opened.append(open_adapter(AdapterFile(path=there[name], factor=factor), shapes))
        return opened

    def empty_transformer(self) -> Any:
        """The network without numbers (on torch's meta device); raises `InputError` for an impossible configuration."""
        torch = require("torch", extra="models")
        require("diffusers", extra="models")
        from .transformer import Lyra2Transformer3DModel

        path = self.path / "transformer" / "config.json"
        try:
            with torch.device("meta"):
                return Lyra2Transformer3DModel.from_config(self.config("transformer"))
        except (InputError, BackendError):
            raise
        except Exception as error:
            raise InputError(f"the network cannot be built ({reason_of(error)}); check the file: {path}") from error

    def load_transformer(
        self,
        dtype: Any,
        *,
        adapters: Sequence[Adapter] = (),
        place: Callable[[str, Any], Any] | None = None,
    ) -> Any:
        """The network, its weights read one by one: in memory at once are what was loaded and one tensor more.

        Args:
            dtype: torch number type; parameters that the class keeps in float32 stay in it.
            adapters: folded in on the way.
            place: takes a parameter's name and tensor and returns the tensor where it shall live, for example on a GPU;
                they stay in main memory if None.

        Raises:
            InputError: the weights are not those of the configuration; the first bad key is named.
        """
        torch = require("torch", extra="models")
        model = self.empty_transformer()
        kept = tuple(model._keep_in_fp32_modules or ())
        with self._checked("transformer", model) as file:
            for name in file.tensors:
                tensor = folded(name, file.read(name), adapters)
                exact = any(part in name.split(".") for part in kept)
                tensor = tensor.to(torch.float32 if exact else dtype)
                tensor = place(name, tensor) if place is not None else tensor
                owner, _, leaf = name.rpartition(".")
                setattr(model.get_submodule(owner), leaf, torch.nn.Parameter(tensor, requires_grad=False))
        return model.eval()

    def load_vae(self, dtype: Any) -> StreamingVae:
        """The video VAE; raises `InputError` or `BackendError` where it does not load."""
        diffusers = require("diffusers", extra="models")
        return StreamingVae(
            self._load("vae", diffusers.AutoencoderKLWan, diffusers.AutoencoderKLWan.from_config, dtype)
        )

    def load_vision(self, dtype: Any) -> ImageEncoder:
        """The image encoder; raises `InputError` or `BackendError` where it does not load."""
        transformers = require("transformers", extra="models")
        model_class = transformers.CLIPVisionModel

        def build(config: dict[str, Any]) -> Any:
            return model_class(transformers.CLIPVisionConfig.from_dict(config))

        return ImageEncoder(self._load("image_encoder", model_class, build, dtype))

    def load_text(self, dtype: Any) -> TextEncoder:
        """Text encoder and tokenizer; raises `InputError` or `BackendError` where they do not load."""
        transformers = require("transformers", extra="models")
        model_class = transformers.UMT5EncoderModel

        def build(config: dict[str, Any]) -> Any:
            return model_class(transformers.UMT5Config.from_dict(config))

        with self.weights.loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                self.path / "tokenizer", local_files_only=True, trust_remote_code=False
            )
        return TextEncoder(self._load("text_encoder", model_class, build, dtype), tokenizer)

    def negative_prompt(self) -> Any:
        """Embedding of the negative text [1, 512, width], which training also uses as the empty one.

        Raises:
            InputError: it is missing, damaged or of another shape.
        """
        path = self.path / NEGATIVE
        file = open_checkpoint(path)
        info = file.tensors.get(NEGATIVE_KEY)
        width = self.config("transformer").get("text_width")
        if info is None or info.shape != (1, TEXT_TOKENS, width):
            found = "nothing" if info is None else f"shape {info.shape}"
            raise InputError(f"'{NEGATIVE_KEY}' is {found}; expected (1, {TEXT_TOKENS}, {width}): {path}")
        text = file.read(NEGATIVE_KEY)
        if not bool(text.isfinite().all()):
            raise bad(NEGATIVE_KEY, "holds NaN or infinite values", path)
        return text

    def _load(self, part: str, model_class: Any, build: Callable[[dict[str, Any]], Any], dtype: Any) -> Any:
        """A part through its library, after its weights were held against its configuration."""
        torch = require("torch", extra="models")
        config = self.config(part)
        with self.weights.loading():
            with torch.device("meta"):
                empty = build(config)
            self._checked(part, empty).close()
            argument = "dtype" if model_class.__module__.startswith("transformers") else "torch_dtype"
            model = model_class.from_pretrained(
                self.path / part, local_files_only=True, use_safetensors=True, **{argument: dtype}
            )
        return model.eval().requires_grad_(False)

    def _checked(self, part: str, empty: Any) -> Checkpoint:
        """The weights of a part, opened; raises `InputError` that names the first key that does not fit."""
        file = open_checkpoint(weights_file(self.path / part))
        expected: Shapes = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
        tied = set(getattr(empty, "_tied_weights_keys", None) or ())
        expect_shapes(file, expected, optional=tied)
        return file


def weights_file(place: Path) -> Path:
    """The weights of a part: its list of shards, or its only file; raises `InputError` if there is neither."""
    for stem in ("diffusion_pytorch_model", "model"):
        for name in (f"{stem}.safetensors.index.json", f"{stem}.safetensors"):
            if (place / name).is_file():
                return place / name
    raise InputError(f"the part '{place.name}' has no safetensors weights; convert the released files again: {place}")


_REMEDY = "convert the released files again"


def expect_shapes(file: Checkpoint, expected: Shapes, *, optional: Collection[str] = ()) -> None:
    """Raise `InputError` that names the first tensor that is missing, unknown, of another shape or of another type."""
    for name, shape in expected.items():
        info = file.tensors.get(name)
        if info is None and name not in optional:
            raise bad(name, "is missing", file.path, _REMEDY)
        if info is not None and info.shape != shape:
            raise bad(name, f"has shape {info.shape}, expected {shape}", file.path, _REMEDY)
        if info is not None and info.dtype not in FLOATS:
            raise bad(
                name, f"has the number type {info.dtype}, expected one of {', '.join(FLOATS)}", file.path, _REMEDY
            )
    for name in file.tensors:
        if name not in expected:
            raise bad(name, "is no parameter of this network", file.path, _REMEDY)


def _present(folder: Path, part: str) -> bool:
    told_by = PARTS[part]
    return (folder / part / told_by).is_file() if told_by else (folder / part).is_file()


def _flag(part: str) -> str:
    return "--" + part.removesuffix(".safetensors").replace("_", "-")


def _expect_inside(folder: Path) -> None:
    """Raise `InputError` for a link that leads out of the folder, and for names that no conversion writes."""
    root = folder.resolve()
    for count, path in enumerate(folder.rglob("*")):
        if count >= _MAX_FILES:
            raise InputError(f"the folder has more than {_MAX_FILES} files, so it is no converted Lyra 2.0: {folder}")
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise InputError(f"a link leads out of the folder; copy the file in its place: {path}")
        if path.parent.name == "lora" and not _PLAIN_NAME.fullmatch(path.name):
            raise InputError(f"an adapter has a name with odd characters; rename it: {path}")


def _json(path: Path) -> dict[str, Any]:
    """A small JSON file with a mapping; raises `InputError` for anything else."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"a part's description cannot be read ({explain_os_error(error)}): {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"a part's description is damaged ({reason_of(error)}); convert the released files again: {path}"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"a part's description is no mapping; convert the released files again: {path}")
    return value


def _expect_sane(config: dict[str, Any], path: Path) -> None:
    """Raise `InputError` for sizes that no model has: building the network would take for ever."""
    for key, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            limit = _MAX_LAYERS if "layers" in key or "blocks" in key else _MAX_NUMBER
            if type(number) in (int, float) and not abs(number) <= limit:
                raise InputError(f"'{key[:80]}' is {str(number)[:40]}; expected at most {limit}: {path}")

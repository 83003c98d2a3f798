"""The list of worlds that a batch file asks for.

    title: kitchens
    photos: [photos/*.jpg]          # files, folders or patterns, relative to this file
    photo_licence: CC0-1.0          # of all, or one for each file name
    config: fast.yaml               # settings of all worlds, optional
    set: {generation.prompt: ""}    # single settings of all worlds, optional
    seeds: [0-3, 10]
    paths: [auto, explore]
    painters: [patch]
    variations:                     # named sets of settings, optional
      plain: {}
      coarse: {reconstruction.texture_px: 512}
    vary: {count: 8, seed: 0, config: strong.yaml, set: {layout.mirrored: 0.5}, certify: true}     # optional
    attempts: 3

One world is made for each combination. Its name follows from what decides it, so the same file always means the same
worlds, and a longer list keeps those that are there.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.config import WorldConfig, load_config
from ..core.errors import ConfigError, InputError
from ..core.files import PICTURE_SUFFIXES, naming, sha256_file, sha256_json
from ..core.schema import MAX_SEED, nearest, read_yaml, resolved_dict
from ..session.variation import resolved_ranges

MAX_ITEMS = 100_000
MAX_SEEDS = 100_000
KEYS = (
    "title",
    "photos",
    "photo_licence",
    "config",
    "set",
    "seeds",
    "paths",
    "painters",
    "variations",
    "vary",
    "attempts",
)
VARY_KEYS = ("count", "seed", "config", "set", "certify")
MOST_VARIANTS = 4096
AXES = ("photo", "seed", "path", "painter", "variation")
"""What tells the worlds of a batch apart, in the order in which they are made."""


@dataclass(frozen=True, kw_only=True)
class VariantsOrder:
    """Which variants every world gets."""

    count: int
    seed: int
    ranges: Mapping[str, Any]
    """All of them, as plain values."""
    certify: bool = True

    @property
    def digest(self) -> str:
        """Hash of what is asked for."""
        asked = {"count": self.count, "seed": self.seed, "ranges": self.ranges, "certify": self.certify}
        return sha256_json(asked)[:16]


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One world to make, or the variants of one."""

    name: str
    """Name of its folder; the same for the same photo and settings."""
    photo: Path
    photo_sha256: str
    photo_licence: str
    """As the batch file states it; empty where it does not."""
    config: WorldConfig
    axes: Mapping[str, str]
    """Its value on each of `AXES`."""
    base: str = ""
    """Name of the world that these are variants of; empty for a world."""
    order: VariantsOrder | None = None
    """Which variants."""

    def variants(self, order: VariantsOrder) -> BatchItem:
        """The variants of this world: a folder beside its own, where their relative paths find it."""
        return replace(self, name=f"{self.name}-variants", base=self.name, order=order)


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What a batch file asks for."""

    title: str
    items: tuple[BatchItem, ...]
    attempts: int
    """How often a world is tried before it is set aside."""
    asked: Mapping[str, Any]
    """The file's content, for the record."""
    order: VariantsOrder | None = None
    """Variants that every world gets."""

    @property
    def variants(self) -> tuple[BatchItem, ...]:
        """The variants of each world, in the order of the worlds; none where none are asked for."""
        return () if self.order is None else tuple(item.variants(self.order) for item in self.items)

    @property
    def digest(self) -> str:
        """Hash of the list of worlds."""
        return sha256_json([item.name for item in self.items])[:16]


def load_plan(path: Path, overrides: Mapping[str, Any] | None = None) -> BatchPlan:
    """Read a batch file.

    Args:
        path: YAML, see the head of this module.
        overrides: settings by key path that win over the file's `set`, but not over its axes and variations.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names it.
        InputError: a photo is missing or cannot be read.
    """
    path = Path(path)
    data = read_yaml(path)
    for key in data:
        if key not in KEYS:
            near = nearest(str(key), list(KEYS))
            hint = f", did you mean '{near}'?" if near else f"; expected: {', '.join(KEYS)}"
            raise ConfigError(f"unknown key '{str(key)[:60]}' in a batch file{hint}: {path}")
    if "photos" not in data:
        raise ConfigError(f"photos is missing; expected files, folders or patterns such as photos/*.jpg: {path}")
    reader = _Reader(path, data)
    files = _files(reader.texts("photos", ()), path)
    photos = _photos(files)
    base = path.parent / reader.text("config", "") if data.get("config") else None
    common = {**reader.settings("set"), **(overrides or {})}
    axes = itertools.product(
        photos,
        _seeds(reader.texts("seeds", ("0",)), path),
        reader.texts("paths", ("",)),
        reader.texts("painters", ("",)),
        reader.variations().items(),
    )
    licences = reader.licences()
    names = sorted({file.name for file in files})
    if lost := next((name for name in licences if name and name not in names), ""):
        near = nearest(lost, names)
        hint = f", did you mean '{near}'?" if near else ""
        raise ConfigError(f"photo_licence names '{lost[:60]}', which is none of the photos{hint}: {path}")
    items: dict[str, BatchItem] = {}
    for photo, seed, trajectory, painter, (variation, changes) in axes:
        if len(items) >= MAX_ITEMS:
            raise ConfigError(f"the batch has more than {MAX_ITEMS} worlds; split it: {path}")
        settings = {**common, "seed": seed}
        settings |= {"generation.path": trajectory} if trajectory else {}
        settings |= {"generation.painter": painter} if painter else {}
        try:
            config = load_config(base, {**settings, **changes})
        except ConfigError as error:
            raise ConfigError(f"{error} (variation '{variation}')" if variation else str(error)) from error
        item = _item(photo, config, variation, licences)
        items.setdefault(item.name, item)
    title = reader.text("title", path.stem)
    return BatchPlan(
        title=title, items=tuple(items.values()), attempts=reader.attempts(), asked=data, order=reader.order()
    )


@dataclass(frozen=True)
class _Photo:
    path: Path
    sha256: str


def _item(photo: _Photo, config: WorldConfig, variation: str, licences: Mapping[str, str]) -> BatchItem:
    resolved = resolved_dict(config)
    digest = sha256_json({"photo": photo.sha256, "name": photo.path.name, "config": resolved})[:10]
    words = [photo.path.stem, f"s{config.seed}", Path(config.generation.path).stem, variation]
    return BatchItem(
        name="-".join([*(slug for word in words if (slug := _slug(word))), digest]),
        photo=photo.path,
        photo_sha256=photo.sha256,
        photo_licence=licences.get(photo.path.name, licences.get("", "")),
        config=config,
        axes={
            "photo": photo.path.name,
            "seed": str(config.seed),
            "path": config.generation.path,
            "painter": config.generation.painter,
            "variation": variation,
        },
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:24]


def _files(patterns: tuple[str, ...], path: Path) -> list[Path]:
    """Picture files in the order of their names, each once."""
    files: dict[Path, None] = {}
    for text in patterns:
        place = path.parent / text
        if place.is_dir():
            found = [p for p in sorted(place.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()]
        elif glob.has_magic(text):
            found = [Path(p) for p in sorted(glob.glob(str(place), recursive=True)) if Path(p).is_file()]
        else:
            found = [place] if place.is_file() else []
        if not found:
            raise InputError(f"photos: nothing is found at '{text}', which counts from the batch file's folder: {path}")
        files.update(dict.fromkeys(found))
    if not files:
        raise ConfigError(f"photos is empty; expected files, folders or patterns: {path}")
    return list(files)


def _photos(files: list[Path]) -> list[_Photo]:
    """Each content once."""
    photos: dict[str, _Photo] = {}
    for file in files:
        with naming("read the photo", file):
            digest = sha256_file(file)
        photos.setdefault(digest, _Photo(file, digest))
    return list(photos.values())


def _seeds(texts: tuple[str, ...], path: Path) -> list[int]:
    """Numbers and ranges, each once, in the order given."""
    seeds: dict[int, None] = {}
    for text in texts:
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", text)
        if match is None:
            raise ConfigError(f"seeds holds '{text[:40]}'; expected whole numbers or ranges such as 0-9: {path}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + MAX_SEEDS:
            raise ConfigError(f"seeds holds '{text[:40]}'; expected a range that grows, of at most {MAX_SEEDS}: {path}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


class _Reader:
    """Values of a batch file by type; every message names key and file."""

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        self._path, self._data = path, data

    def text(self, key: str, default: str) -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "text")
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """One or several; numbers become text."""
        value = self._data.get(key, list(default))
        values = value if isinstance(value, list) else [value]
        if not values or any(isinstance(v, bool) or not isinstance(v, str | int) for v in values):
            raise self._wrong(key, value, "one value or a list of them")
        return tuple(str(v) for v in values)

    def settings(self, key: str) -> dict[str, Any]:
        return self._settings(key, self._data.get(key))

    def variations(self) -> dict[str, dict[str, Any]]:
        """Settings by name; one without a name where the file has none."""
        value = self._data.get("variations")
        if value is None:
            return {"": {}}
        if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
            raise self._wrong("variations", value, "names with settings")
        return {name: self._settings(f"variations.{name}", changes) for name, changes in value.items()}

    def licences(self) -> dict[str, str]:
        """Licence by file name; the empty name is for all others."""
        value = self._data.get("photo_licence", "")
        value = {"": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not all(isinstance(v, str) for pair in value.items() for v in pair):
            raise self._wrong("photo_licence", value, "a licence, or one for each file name")
        return value

    def order(self) -> VariantsOrder | None:
        """What `vary` asks for."""
        value = self._data.get("vary")
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong("vary", value, f"a mapping with some of {', '.join(VARY_KEYS)}")
        for key in value:
            if key not in VARY_KEYS:
                near = nearest(str(key), list(VARY_KEYS))
                hint = f"did you mean '{near}'?" if near else f"expected: {', '.join(VARY_KEYS)}"
                raise ConfigError(f"unknown key 'vary.{str(key)[:60]}', {hint}: {self._path}")
        numbers = []
        for key, default, low, high in (("count", 8, 1, MOST_VARIANTS), ("seed", 0, 0, MAX_SEED)):
            number = value.get(key, default)
            if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
                raise self._wrong(f"vary.{key}", number, f"a whole number from {low} to {high}")
            numbers.append(number)
        config, certify = value.get("config"), value.get("certify", True)
        if config is not None and not isinstance(config, str):
            raise self._wrong("vary.config", config, "a file of ranges")
        if not isinstance(certify, bool):
            raise self._wrong("vary.certify", certify, "true or false")
        try:
            ranges = resolved_ranges(
                self._path.parent / config if config else None, self._settings("vary.set", value.get("set"))
            )
        except ConfigError as error:
            raise ConfigError(f"{error} (vary)") from error
        return VariantsOrder(count=numbers[0], seed=numbers[1], ranges=ranges, certify=certify)

    def attempts(self) -> int:
        value = self._data.get("attempts", 3)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 20:
            raise self._wrong("attempts", value, "a whole number from 1 to 20")
        return value

    def _settings(self, key: str, value: object) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise self._wrong(key, value, "settings by key path, for example reconstruction.texture_px: 512")
        if bad := next(
            (k for k in value if k in {"seed", "generation.path", "generation.painter"} and key == "set"), ""
        ):
            raise ConfigError(f"set holds {bad}; give it under seeds, paths or painters: {self._path}")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> ConfigError:
        return ConfigError(f"{key} is {str(value)[:60]!r}; expected {expected}: {self._path}")

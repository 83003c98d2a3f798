"""What every tree of config dataclasses shares: checked fields, strict YAML reading, the resolved dump.

A field's docstring is the help text of its command-line flag. Everything is refused with the key path in the message:
unknown keys (with the nearest name), wrong types, values out of range, keys given twice.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from .errors import ConfigError

MAX_CONFIG_BYTES = 2**20
"""Largest configuration file that is read [bytes]."""
MAX_SEED = 2**32 - 1
"""The range of a torch and NumPy seed on every platform."""
S = TypeVar("S", bound="Section")
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Section:
    """Base of all config dataclasses: checks the types of plain fields, then the section's own ranges."""

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, kind in _field_types(type(self)).items():
            if kind in _TYPE_NAMES:
                object.__setattr__(self, name, _typed(self._path(name), getattr(self, name), kind))
        self._check()

    def _check(self) -> None:
        """Ranges and choices; raises `ConfigError`."""

    def _path(self, name: str) -> str:
        return f"{self.section}.{name}" if self.section else name

    def _between(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ConfigError(f"{self._path(name)} is {value}; expected {low} to {high}")

    def _choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigError(
                f"{self._path(name)} is '{value}'{_suggestion(value, choices)}; expected one of: {', '.join(choices)}"
            )


def load_schema(schema: type[S], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> S:
    """`load_config` for another tree of config dataclasses.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message names the key path.
    """
    data = read_yaml(Path(path)) if path is not None else {}
    for key_path, value in (overrides or {}).items():
        *sections, name = key_path.split(".")
        place = data
        for part in sections:
            if place.get(part) is None:
                place[part] = {}
            place = place[part]
            if not isinstance(place, dict):
                raise ConfigError(f"{part} is {_show(place)}; expected a section with keys")
        place[name] = value
    try:
        return _build(schema, data, "", schema)
    except ConfigError as error:
        if path is None:
            raise
        raise ConfigError(f"{error}: {path}") from error


def build_section(cls: type[S], data: Mapping[str, Any]) -> S:
    """A tree of config dataclasses from nested mappings; raises `ConfigError` that names the key path."""
    return _build(cls, data, "", cls)


def resolved_dict(config: Section) -> dict[str, Any]:
    """All values, defaults included, as plain JSON types; `config_from_dict` reads a `WorldConfig` back."""
    assert dataclasses.is_dataclass(config), "sections are dataclasses"
    return dataclasses.asdict(config)


def resolved_yaml(config: Section) -> str:
    """The resolved configuration as YAML text in schema order."""
    import yaml

    return yaml.safe_dump(resolved_dict(config), sort_keys=False, allow_unicode=True)


def differing_keys(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Key paths whose values differ between two resolved dictionaries, in schema order."""
    keys: list[str] = []
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            keys += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Docstrings that follow the fields of a config dataclass, inherited ones included, by field name.

    Empty where the source is not shipped.
    """
    inherited = [field_docs(base) for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {name: text for found in inherited for name, text in found.items()}
    for statement, following in itertools.pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[statement.target.id] = inspect.cleandoc(str(following.value.value)).replace("\n", " ")
    return docs


def nearest(name: str, known: list[str]) -> str | None:
    """The known name that `name` most resembles, if any comes close."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


@cache
def _field_types(cls: type) -> dict[str, type]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _typed(key_path: str, value: Any, kind: type) -> Any:
    """`value` as `kind`; whole numbers pass as numbers, nothing else is converted."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else value
    if type(value) is not kind:
        hint = ""
        if kind is float and isinstance(value, str) and is_number(value):
            hint = f" (YAML reads {value} as text; write {float(value)!r})"
        raise ConfigError(f"{key_path} is {_show(value)}; expected {_TYPE_NAMES[kind]}{hint}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{key_path} is {value}; expected a finite number")
    return value


def _build(cls: type, data: Any, prefix: str, schema: type) -> Any:
    if data is None:
        data = {}  # a section header with nothing below it
    if not isinstance(data, Mapping):
        where = prefix.rstrip(".") or "the configuration"
        raise ConfigError(f"{where} is {_show(data)}; expected a section with keys")
    types = _field_types(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in types:
            raise ConfigError(f"unknown key {prefix}{str(key)[:60]}{_elsewhere(str(key), list(types), prefix, schema)}")
        kind = types[key]
        values[key] = _build(kind, value, f"{prefix}{key}.", schema) if dataclasses.is_dataclass(kind) else value
    return cls(**values)


def _elsewhere(key: str, known: list[str], prefix: str, schema: type) -> str:
    """The hint after an unknown key: the nearest name here, else the same name in another section."""
    if near := nearest(key, known):
        return f"; did you mean '{near}'?"
    for name, kind in _field_types(schema).items():
        if dataclasses.is_dataclass(kind) and (near := nearest(key, list(_field_types(kind)))):
            return f"; did you mean '{name}.{near}'?"
    where = prefix.rstrip(".") or "the top level"
    return f"; {where} has: {', '.join(known)}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, keys unchecked but never twice; raises `ConfigError`."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """Refuses a key that stands twice in one mapping, which YAML loaders pass over in silence."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    continue
                if key_node.value in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError(f"key '{key_node.value}' stands twice (line {line}); keep one: {path}")
                seen.add(key_node.value)
            return super().construct_mapping(node, deep)

    try:
        if path.is_dir():
            raise ConfigError(f"the configuration is a folder; expected a YAML file: {path}")
        with open(path, "rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError(f"the configuration has more than {MAX_CONFIG_BYTES} bytes; expected a YAML file: {path}")
        data = yaml.load(raw.decode("utf-8-sig"), StrictLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"the configuration file does not exist; check the path: {path}") from error
    except OSError as error:
        raise ConfigError(f"the configuration cannot be read ({error.strerror}): {path}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the configuration is not UTF-8 text; expected a YAML file: {path}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise ConfigError(f"the configuration is no valid YAML ({reason}{line}): {path}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"the configuration is {_show(data)}; expected sections with keys: {path}")
    return data


def _suggestion(value: str, choices: tuple[str, ...]) -> str:
    near = nearest(value, list(choices))
    return f", did you mean '{near}'?" if near else ""


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value[:60]}'"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else str(value)[:60]

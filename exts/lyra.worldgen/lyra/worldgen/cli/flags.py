"""Flags that several commands share, and what they say."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

SCALE_FLAGS = (
    ("--camera-height-sigma", "scale.camera_height_sigma", float, "RELATIVE"),
    ("--measure", "scale.measure", list, "X1,Y1,X2,Y2=LENGTH"),
    ("--known", "scale.known", list, "THING:X1,Y1,X2,Y2"),
    ("--tag-size", "scale.tag_size_m", float, "METRES"),
    ("--tag-family", "scale.tag_family", str, "NAME"),
    ("--ceiling-height", "scale.ceiling_height_m", float, "METRES"),
    ("--exif-distance", "scale.exif_distance", bool, ""),
)
"""What tells the size of the world: flag, the configuration field that it sets (whose docstring is its help), type,
placeholder; bool takes no value, `list` may be given again."""
MADE_BY = "understand, explore, reconstruct, simulate, certify"
"""Stages of a photo's world that `--until` may name."""


def add_making_flags(
    parser: argparse.ArgumentParser, fields: Iterable[tuple[str, str, type, str]], stages: str, dry_run: str
) -> None:
    """Flags of a command that makes a world.

    Args:
        parser: of the command.
        fields: as in `SCALE_FLAGS`.
        stages: names that `--until` takes, for its help.
        dry_run: what `--dry-run` does.
    """
    add_field_flags(parser, fields)
    parser.add_argument("--config", metavar="FILE", help="YAML file with settings; flags win over it")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any setting by its key path, for example simulation.robot_radius_m=0.4; may be given again",
    )
    parser.add_argument("--overwrite", action="store_true", help="make the world anew if the folder holds one already")
    add_until_flag(parser, stages)
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    add_output_flags(parser)


def add_field_flags(parser: argparse.ArgumentParser, flags: Iterable[tuple[str, str, type, str]]) -> None:
    """Add flags that set fields of the configuration."""
    for flag, key, kind, placeholder in flags:
        text, default = field_help(key)
        takes: dict[str, Any] = {"type": kind, "metavar": placeholder}
        said = f"{text} (default: {default})"
        if kind is bool:
            takes = {"action": "store_true", "default": None}
            # A switch says what is so with it; what a field says begins with `whether`.
            said = text.removeprefix("whether ")
        elif kind is list:
            takes = {"action": "append", "metavar": placeholder}
        parser.add_argument(flag, dest=key, help=said.replace("%", "%%"), **takes)


def field_values(args: argparse.Namespace, flags: Iterable[tuple[str, str, type, str]]) -> dict[str, Any]:
    """What the flags say, by key path; repeated ones are joined."""
    given = {key: getattr(args, key) for _, key, _, _ in flags if getattr(args, key) is not None}
    return {key: "; ".join(value) if isinstance(value, list) else value for key, value in given.items()}


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that every command has."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="print the result as JSON")
    group.add_argument(
        "--json-lines", action="store_true", help="print progress, result and errors as one JSON object a line"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice for every detail")


def add_until_flag(parser: argparse.ArgumentParser, stages: str = MADE_BY) -> None:
    """Flag of the commands that run several stages."""
    text = f"stop after this stage ({stages}); `lyra-worldgen finish` does the rest later"
    parser.add_argument("--until", metavar="STAGE", default="", help=text)


def field_help(key: str) -> tuple[str, str]:
    """Docstring and default of a configuration field given by its key path."""
    from ..core.config import WorldConfig
    from ..core.schema import field_docs

    *sections, name = key.split(".")
    owner: Any = WorldConfig()
    for section in sections:
        owner = getattr(owner, section)
    default = getattr(owner, name)
    return field_docs(type(owner)).get(name, ""), str(default) if default != "" else "none"


def parse_setting(text: str) -> tuple[str, Any]:
    """Key path and value of `KEY=VALUE`; the value is read as YAML. Raises `ConfigError`."""
    import yaml

    from ..core.errors import ConfigError

    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise ConfigError(f"--set is '{text[:60]}'; expected KEY=VALUE, for example generation.path=turn")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key.strip()} has the value '{value[:60]}', which is no YAML") from error

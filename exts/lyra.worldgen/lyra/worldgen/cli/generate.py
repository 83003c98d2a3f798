"""`lyra-worldgen generate`: a photo becomes a world."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..session.commands import GIVEN_HEIGHT_SIGMA, Generate
from .terminal import Console

EPILOG = """\
examples:
  lyra-worldgen generate kitchen.jpg
  lyra-worldgen generate kitchen.jpg --path loop --seed 7 --out worlds/kitchen-7
  lyra-worldgen generate kitchen.jpg --path walk.npz --captions captions.json
  lyra-worldgen generate kitchen.jpg --path horizontal_zoom:direction=left,strength=1.5,frames=241
  lyra-worldgen generate kitchen.jpg --camera-height 1.2 --set simulation.robot_radius_m=0.4
  lyra-worldgen generate kitchen.jpg --known door:412,80,415,610 --measure 120,700,480,705=0.9m
  lyra-worldgen generate kitchen.jpg --tag-size 0.16
  lyra-worldgen generate kitchen.jpg --painter inpaint --painter-model weights/sd-inpainting --prompt "a kitchen"
  lyra-worldgen generate kitchen.jpg --painter lyra2 --painter-model weights/lyra2 --prompt "a quiet kitchen"
  lyra-worldgen generate kitchen.jpg --config config/generation/fast.yaml --dry-run

Size: pixels count in the upright photo from its upper left corner; `docs/scale.md` says which evidence is worth what.
Paths: `lyra-worldgen paths` lists them with their options.
A run that was stopped goes on where it was when the same command is given again. A finished world is left as it is.
"""
SCALE_FLAGS = (
    ("--camera-height-sigma", "scale.camera_height_sigma", float, "RELATIVE"),
    ("--measure", "scale.measure", list, "X1,Y1,X2,Y2=LENGTH"),
    ("--known", "scale.known", list, "THING:X1,Y1,X2,Y2"),
    ("--tag-size", "scale.tag_size_m", float, "METRES"),
    ("--tag-family", "scale.tag_family", str, "NAME"),
    ("--ceiling-height", "scale.ceiling_height_m", float, "METRES"),
    ("--exif-distance", "scale.exif_distance", bool, ""),
)
"""The same for what tells the size of the world; `list` may be given again."""
FLAGS = (
    ("--path", "generation.path", str, "NAME|FILE.npz"),
    ("--pose-scale", "generation.pose_scale", float, "FACTOR"),
    ("--prompt", "generation.prompt", str, "TEXT"),
    ("--captions", "generation.captions", str, "FILE.json"),
    ("--painter", "generation.painter", str, "NAME"),
    ("--painter-model", "models.painter", str, "DIR|ID"),
    ("--download", "models.download", bool, ""),
    ("--geometry", "geometry.backend", str, "NAME"),
    ("--depth-model", "models.depth", str, "FOLDER|ID"),
    ("--seed", "seed", int, "N"),
    ("--camera-height", "geometry.camera_height_m", float, "METRES"),
    ("--licence", "source.licence", str, "TEXT"),
    *SCALE_FLAGS,
)
"""Flag, the configuration field that it sets (whose docstring is its help), type, placeholder; bool takes no value."""

MADE_BY = "understand, explore, reconstruct, simulate, certify"
"""Stages of a photo's world that `--until` may name."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "generate",
        help="make a world from a photo",
        description="Make a world from a photo and certify it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("photo", metavar="PHOTO", help="a picture file: JPEG, PNG, WebP, TIFF, ...")
    parser.add_argument("--out", metavar="DIR", help="the world folder (default: worlds/<name of the photo>)")
    add_making_flags(parser, FLAGS, MADE_BY, "print the resolved settings and do nothing")
    parser.set_defaults(run=run)


def add_making_flags(
    parser: argparse.ArgumentParser, fields: Iterable[tuple[str, str, type, str]], stages: str, dry_run: str
) -> None:
    """Flags of a command that makes a world.

    Args:
        parser: of the command.
        fields: see `FLAGS`.
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
        if kind is bool:
            takes = {"action": "store_true", "default": None}
        elif kind is list:
            takes = {"action": "append", "metavar": placeholder}
        parser.add_argument(flag, dest=key, help=f"{text} (default: {default})".replace("%", "%%"), **takes)


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
    text = f"stop after this stage ({stages}); `finish` does the rest"
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


def run(args: argparse.Namespace, console: Console) -> int:
    """Make the world; the exit code says whether it is certified."""
    from ..core.config import load_config
    from ..core.schema import resolved_dict, resolved_yaml

    overrides: dict[str, Any] = dict(parse_setting(text) for text in args.set)
    given = field_values(args, FLAGS)
    if "geometry.camera_height_m" in given:
        overrides.setdefault("scale.camera_height_sigma", GIVEN_HEIGHT_SIGMA)
    overrides |= given
    config = load_config(Path(args.config) if args.config else None, overrides)
    photo = Path(args.photo)
    out = Path(args.out) if args.out else Path("worlds") / (photo.stem or "world")
    if args.dry_run:
        console.result(resolved_yaml(config).rstrip(), {"photo": str(photo), "out": str(out), **resolved_dict(config)})
        return 0
    from .worlds import run_command

    command = Generate(photo=photo, config=config, overwrite=args.overwrite, until=args.until)
    return run_command(out, command, console)


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

"""`lyra-worldgen vary`: variants of a finished world."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flags import add_output_flags
from .terminal import Console, table

if TYPE_CHECKING:
    from ..vary import Variants

EPILOG = """\
examples:
  lyra-worldgen vary worlds/kitchen --count 64                         into worlds/kitchen-variants
  lyra-worldgen vary worlds/kitchen --count 64 --seed 7 --config config/randomization/strong.yaml
  lyra-worldgen vary worlds/kitchen --count 8 --set layout.mirrored=1  mirror images only
  lyra-worldgen vary worlds/kitchen --count 8 --set clutter.count=[4,10] --no-certify
  lyra-worldgen vary worlds/kitchen --config config/randomization/styles.yaml      other floors, walls and ceilings
  lyra-worldgen vary worlds/kitchen --set surface.restyle=0.5 --set styles.floor=[wood,tile]
  lyra-worldgen vary worlds/kitchen --set light.found=true --set light.lit=0.5      lamps of the photo, half of them off
  lyra-worldgen vary worlds/kitchen --dry-run                          the ranges that would be used

what comes out, in the folder of --out:
  variant_000/ ...   world folders that hold only what differs; train in all of them with env.worlds=FOLDER
  styles/            other materials of surfaces, where there are some: each made once and shared by variants
  variants.png       all of them in one picture
  variants.usda      one stage with a list to choose a variant from
  variants.json      what was drawn for each

Variants are read over the world that they are made from: keep both where they are relative to one another. If that
world changes, its variants say so and have to be made again. The same command goes on after a stop; a larger --count
adds variants, and variant 12 of one seed is the same in every call.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "vary",
        help="make variants of a world: light, materials, colours, friction, clutter, mirror images",
        description="Make variants of a finished world that share its files: other light, exposure and colours, other "
        "floors, walls and ceilings, other friction, things on the floor, mirrored layouts, floating splats.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="a finished world folder")
    parser.add_argument("--count", type=int, metavar="N", default=8, help="how many (default: 8)")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="variant k follows from it and k (default: 0)")
    parser.add_argument("--config", metavar="FILE", help="ranges, see config/randomization (default: mild.yaml)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace one range, for example light.dome=[0.5,2]; may be given several times",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the variants (default: DIR-variants)")
    parser.add_argument("--no-certify", action="store_true", help="do not measure them in PhysX, which takes longest")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace variants of another world, seed or ranges, and remove those that are not named any more",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the ranges that would be used, and stop")
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Make variants; exit code 1 if one is not certified."""
    from ..core.schema import resolved_dict, resolved_yaml
    from ..vary import load_vary_config, vary_world

    cfg = load_vary_config(Path(args.config) if args.config else None, dict(_override(text) for text in args.set))
    if args.dry_run:
        console.result(resolved_yaml(cfg).rstrip(), resolved_dict(cfg))
        return 0
    folder = Path(args.folder)
    out = Path(args.out) if args.out else folder.with_name(f"{folder.resolve().name}-variants")
    variants = vary_world(
        folder,
        out,
        count=args.count,
        seed=args.seed,
        cfg=cfg,
        certify=not args.no_certify,
        overwrite=args.overwrite,
        progress=console.progress,
    )
    console.result(_summary(variants), _values(variants))
    failed = [name for name, verdict in variants.verdicts.items() if verdict == "failed"]
    return 1 if failed else 0


def _override(text: str) -> tuple[str, Any]:
    """Key path and value of one `--set`; the value is read as YAML."""
    import yaml

    from ..core.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(f"--set is '{text[:60]}'; expected SECTION.KEY=VALUE, such as light.dome=[0.5,2]")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key.strip()} is '{value[:60]}', which is no value") from error


def _counts(variants: Variants) -> dict[str, int]:
    """How many passed, failed, and were not fully measured."""
    found = {"passed": 0, "failed": 0, "not measured": 0}
    for verdict in variants.verdicts.values():
        found[verdict if verdict in ("passed", "failed") else "not measured"] += 1
    return found


def _summary(variants: Variants) -> str:
    counts = _counts(variants)
    certified = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    failed = [name for name, verdict in variants.verdicts.items() if verdict == "failed"]
    rows = [
        ("made", f"{variants.made}, {len(variants.names) - variants.made} were there"),
        ("certificate", certified),
        *(("", f"not certified: {name}") for name in failed[:8]),
        ("disk", f"{variants.bytes / 2**20:.1f} MiB, {100 * variants.disk_share:.2f} % of as many copies of the world"),
        ("look", str(variants.folder / "variants.png")),
        ("open", f"Isaac Sim, File > Open: {variants.folder / 'variants.usda'}"),
        ("train", f"env.worlds={variants.folder}"),
    ]
    head = f"{variants.folder}: {len(variants.names)} variants"
    return f"{head}\n{table([(f'  {name}', text) for name, text in rows])}"


def _values(variants: Variants) -> dict[str, Any]:
    return {
        "folder": str(variants.folder.resolve()),
        "variants": list(variants.names),
        "made": variants.made,
        "verdicts": {name: verdict or None for name, verdict in variants.verdicts.items()},
        "bytes": variants.bytes,
        "disk_share": round(variants.disk_share, 6),
    }

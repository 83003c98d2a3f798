"""`lyra-worldgen certify | preview | info`: commands for a world that exists, and how a world is shown."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..core.chunks import chunk_stages
from ..core.config import WorldConfig, value_at, with_late_sections
from ..core.licences import is_research_only
from ..core.manifest import SCALE_STAGES, VARY, Manifest, Scale, manifest_to_json
from ..core.schema import differing_keys, resolved_dict
from ..core.world import World, load_world
from ..session import Certify, Command, Preview, Session
from ..session.summary import world_values
from .flags import add_output_flags
from .terminal import Console, duration, table

EPILOGS = {
    "certify": """\
examples:
  lyra-worldgen certify worlds/kitchen
  lyra-worldgen certify worlds/kitchen-variants/variant_003
  lyra-worldgen certify worlds/kitchen --newton

Left in the world: certificate.html with pictures, certificate.json for programs. Exit code 0 if it is certified, 1 if a
check did not hold or could not be made here.
""",
    "preview": """\
examples:
  lyra-worldgen preview worlds/kitchen

Left in the world: preview.png (photo, mesh, splats, map, colliders) and walkthrough.mp4.
""",
    "info": """\
examples:
  lyra-worldgen info worlds/kitchen
  lyra-worldgen info worlds/kitchen --json

Shown: where it comes from, settings that are not the defaults, scale and its doubt, licence, stages with their times
and sizes. Every file is compared with its hash; exit code 1 if one differs or is missing.
""",
}


def add_parsers(commands: Any) -> None:
    """Add the commands to the parser."""
    for name, run, text in (
        ("certify", run_certify, "measure a world in PhysX again and write its certificate"),
        ("preview", run_preview, "draw the contact sheet and film of a world again"),
        ("info", run_info, "show what a world is made of and check its files"),
    ):
        parser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EPILOGS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("folder", metavar="DIR", help="a world folder")
        if name == "certify":
            parser.add_argument(
                "--newton",
                action="store_true",
                help="drop bodies in Newton, too; the first time takes minutes",
            )
        add_output_flags(parser)
        parser.set_defaults(run=run)


def run_certify(args: argparse.Namespace, console: Console) -> int:
    """Measure again; exit code 0 only for a certified world."""
    return run_command(Path(args.folder), Certify(newton=args.newton), console)


def run_preview(args: argparse.Namespace, console: Console) -> int:
    """Draw again."""
    world = Session(Path(args.folder)).run(Preview(), console.progress)
    files = sorted(world.manifest.stages["preview"].files)
    console.result(
        "\n".join(str(world.folder / name) for name in files), {"folder": str(world.folder.resolve()), "files": files}
    )
    return 0


def run_info(args: argparse.Namespace, console: Console) -> int:
    """Show a world; exit code 1 if its files are not what its stages left."""
    world = load_world(Path(args.folder))
    problems = world.check_files()
    manifest = world.manifest
    default = resolved_dict(WorldConfig())
    chosen = [key for key in ("geometry.backend", "generation.painter") if value_at(default, key) == "auto"]
    config = with_late_sections(manifest.config)
    changed = [key for key in differing_keys(default, config) if key not in chosen]
    advice = "finish" if manifest.base is None else "certify"
    state = "finished" if world.finished else f"unfinished: go on with lyra-worldgen {advice} {world.folder}"
    scale = manifest.scale
    rows = [
        ("world", f"{world.folder} ({manifest.id}, format {manifest.format})"),
        ("state", f"{state}{f', {manifest.verdict}' if manifest.verdict else ''}"),
        origin_row(manifest),
        ("made by", manifest.generator),
        ("seed", str(manifest.seed)),
        ("settings", ", ".join(f"{key}={value_at(config, key)}" for key in changed) or "all default"),
        ("scale", "unknown" if scale is None else scale_text(scale, imported=manifest.photo.imported)),
        *(("", evidence_text(piece)) for piece in (() if scale is None else scale.evidence)),
        *(("", note) for note in scale_notes(manifest)),
        ("licence", manifest.licence if manifest.photo.imported else f"{manifest.licence} (weights that took part)"),
        ("parents", ", ".join(manifest.parents) or "none"),
        *variation_rows(manifest),
        *(() if manifest.photo.imported or manifest.base else (("explored", exploration(manifest)),)),
    ]
    stages = [("stage", "backend", "time", "size", "files")]
    chunks = {name for _, name in chunk_stages(manifest.stages)}
    for name, record in manifest.stages.items():
        if name in chunks:
            continue
        size = sum(entry.size for entry in record.files.values()) / 2**20
        stages.append(
            (name, record.backend or "-", duration(record.seconds), f"{size:.1f} MiB", str(len(record.files)))
        )
    lines = [table(rows), "", table(stages), ""]
    lines += [f"{finding.message}" for finding in problems] or ["every file is as its stage left it"]
    values = {
        **world_values(world),
        "photo": None if manifest.photo.imported else manifest.photo.name,
        "source": manifest_to_json(manifest).get("source"),
        "seed": manifest.seed,
        "config": manifest.config,
        "explored": exploration(manifest),
        "stages": {
            name: {"backend": r.backend, "seconds": r.seconds, "files": sorted(r.files), "facts": r.facts}
            for name, r in manifest.stages.items()
        },
        "problems": problems.as_list(),
    }
    console.result("\n".join(lines), values)
    return 0 if problems.ok else 1


def origin_row(manifest: Manifest) -> tuple[str, str]:
    """Where a world comes from."""
    origin = manifest.photo
    if not origin.imported:
        return "photo", f"{origin.name}, {origin.size_px[0]}x{origin.size_px[1]} px"
    up = manifest.fact("import", "up")
    return "imported", f"{origin.name}, {origin.kind}{f', up is {up}' if isinstance(up, str) else ''}"


def variation_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Which world a variant was made from, and what is different; nothing for a world of its own."""
    if manifest.base is None:
        return []
    values, things = manifest.fact(VARY, "values"), manifest.fact(VARY, "things")
    words = ["mirrored"] if manifest.base.mirrored else []
    style = manifest.fact(VARY, "style")
    if isinstance(style, dict) and isinstance(style.get("surfaces"), dict):
        words += [f"{kind} of {of.get('material')}" for kind, of in style["surfaces"].items() if isinstance(of, dict)]
    if isinstance(things, list) and things:
        words.append(f"{len(things)} things on the floor")
    lamps = manifest.fact(VARY, "lamps")
    if isinstance(lamps, list) and lamps:
        words.append(f"{len(lamps)} lamps of the photo")
    if isinstance(values, dict):
        words += [f"{key}={value}" for key, value in values.items() if isinstance(value, float)]
    seed, index = manifest.fact(VARY, "seed"), manifest.fact(VARY, "index")
    return [("variant of", f"{manifest.base.path}, number {index} of seed {seed}"), ("", ", ".join(words))]


def scale_text(scale: Scale, *, imported: bool = False) -> str:
    """How far the metres may be off, what they rest on, and what became of the memory's units."""
    factor = f"{scale.metres_per_unit:.4g}"
    rescaled = f"; one unit of the file is {factor} m" if imported else f"; {factor} times as large as generated"
    rescaled = "" if scale.metres_per_unit == 1.0 else rescaled
    return f"{scale.text}, from: {scale.source.replace('_', ' ')}{rescaled}"


def scale_notes(manifest: Manifest) -> list[str]:
    """What was found about the evidence: contradictions, and guesses that gave way. Of a rescaled world, the latest."""
    for stage in SCALE_STAGES:
        record = manifest.stages.get(stage)
        if record is not None and (stage != SCALE_STAGES[0] or "scale" in record.facts):
            return [str(f.get("message")) for f in record.findings if str(f.get("code", "")).startswith("scale.")]
    return []


def evidence_text(piece: dict[str, Any]) -> str:
    """One piece of evidence in a line."""
    says = str(piece.get("says", ""))[:160]
    stated, measured = piece.get("stated_m"), piece.get("in_world_m")
    if isinstance(stated, float | int) and isinstance(measured, float | int):
        says += f": {stated:.3g} m, {measured:.3g} m in this world"
    return says if piece.get("used") is True else f"{says} (left out)"


def exploration(manifest: Manifest) -> str:
    """The legs of a journey with their chunks, and how long a frame took."""
    records = [manifest.stages[name] for _, name in chunk_stages(manifest.stages)]
    if not records:
        return "not yet"
    frames = sum(_count(record.facts.get("frames")) for record in records)
    seconds = sum(record.seconds for record in records)
    legs: dict[tuple[int, str], int] = {}
    for record in records:
        leg = (_count(record.facts.get("leg")), str(record.facts.get("path", ""))[:60])
        legs[leg] = legs.get(leg, 0) + 1
    text = ", ".join(f"{path} ({count} chunk{'s' if count > 1 else ''})" for (_, path), count in sorted(legs.items()))
    return f"{text}; {frames} frames, {seconds / max(frames, 1):.2f} s a frame"


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def run_command(folder: Path, command: Command, console: Console) -> int:
    """Perform a command of a session and report the world that it leads to; the exit code."""
    return report_world(Session(folder).run(command, console.progress), console)


def report_world(world: World, console: Console) -> int:
    """Print where a world is and what its certificate says; the exit code. Stopping early on purpose is no failure."""
    console.result(world_summary(world), world_values(world))
    return 0 if world.verdict == "passed" or not world.finished else 1


def world_summary(world: World) -> str:
    """A finished world in a few lines: verdict, room, where to look, how to open it."""
    values = world_values(world)
    verdict = {"passed": "certified", "failed": "NOT certified", "incomplete": "finished, not fully measured"}
    head = f"{world.folder}: {verdict.get(world.verdict, 'finished, not measured')}"
    if not world.finished:
        left = [name for name in world.manifest.plan if name not in world.manifest.stages]
        head = f"{world.folder}: unfinished, {', '.join(left)} to do; go on with: lyra-worldgen finish {world.folder}"
    rows = [("why", str(values["summary"]))] if values["summary"] else []
    if values["connected_area_m2"] is not None:
        rows.append(("room", f"{values['connected_area_m2']} m² of connected free floor"))
    if world.manifest.scale is not None:
        scale = world.manifest.scale
        rows.append(("scale", scale_text(scale, imported=world.manifest.photo.imported)))
        rows += [("", note) for note in scale_notes(world.manifest)]
    if world.manifest.photo.imported:
        rows.append(("licence", world.manifest.licence))
    elif is_research_only(world.manifest.licence):
        rows.append(("NOTICE", f"painted with weights for research only, see NOTICE.txt: {world.manifest.licence}"))
    if world.has("preview.png"):
        rows.append(("look", str(world.folder / "preview.png")))
    if world.has("certificate.html"):
        rows.append(("report", str(world.folder / "certificate.html")))
    if world.has("world_scene.usda"):
        rows.append(("open", f"Isaac Sim, File > Open: {world.folder / 'world_scene.usda'}"))
    return "\n".join([head, *(f"  {line}" for line in table(rows).splitlines())])

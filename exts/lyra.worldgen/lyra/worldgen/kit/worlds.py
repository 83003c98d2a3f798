"""The worlds of a folder, for the browser: what each is, how it was judged, where it is made. Needs no Kit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.manifest import MANIFEST_NAME
from ..core.world import load_world
from ..session.remote import NOTE_SUFFIX, read_note
from ..session.summary import world_values

MOST_WORLDS = 200


@dataclass(frozen=True, kw_only=True)
class WorldCard:
    """One line of the browser."""

    name: str
    folder: str
    verdict: str = ""
    """`passed`, `failed` or `incomplete`; empty before the certificate."""
    text: str = ""
    """What to know about it, in one line."""
    preview: str = ""
    """Picture file; empty if there is none."""
    certificate: str = ""
    """Page to open; empty if there is none."""
    readable: bool = True
    """Whether it can be worked on here."""


def list_worlds(root: Path) -> list[WorldCard]:
    """The latest worlds below a folder, newest first; worlds that a server makes for it and damaged ones included."""
    root = Path(root)
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    found: list[tuple[float, Path]] = []
    for entry in entries:
        manifest = entry / MANIFEST_NAME
        here = manifest if manifest.is_file() else entry
        try:
            if manifest.is_file() or (entry.name.endswith(NOTE_SUFFIX) and not _folder_of(entry).exists()):
                found.append((here.stat().st_mtime, entry))
        except OSError:
            continue  # it went away meanwhile
    found.sort(key=lambda item: (-item[0], item[1].name))
    return [_card(entry) if entry.is_dir() else _far_card(entry) for _, entry in found[:MOST_WORLDS]]


def _folder_of(note: Path) -> Path:
    return note.with_name(note.name.removesuffix(NOTE_SUFFIX))


def _card(folder: Path) -> WorldCard:
    try:
        world = load_world(folder)
        values = world_values(world)
        preview = world.path("preview.png") if world.has("preview.png") else None
        certificate = world.path("certificate.html") if world.has("certificate.html") else None
    except InputError as error:
        return WorldCard(name=folder.name, folder=str(folder), text=str(error), readable=False)
    parts = [values["verdict"] or ("finished" if values["finished"] else "not finished")]
    if values["free_area_m2"] is not None:
        parts.append(f"{values['free_area_m2']:.0f} m² free")
    if world.manifest.scale is not None:
        parts.append(world.manifest.scale.text)
    if values["licence"] != "none":
        parts.append(str(values["licence"]))
    return WorldCard(
        name=folder.name,
        folder=str(folder),
        verdict=values["verdict"] or "",
        text=", ".join(parts),
        preview="" if preview is None else str(preview),
        certificate="" if certificate is None else str(certificate),
    )


def _far_card(note: Path) -> WorldCard:
    folder = _folder_of(note)
    said = read_note(folder)
    text = "the note about it is damaged" if said is None else f"on {said.server}; the same form fetches it"
    return WorldCard(name=folder.name, folder=str(folder), text=text, readable=False)

"""`certificate.html`: one file without scripts or links, verdict first, readable on a phone and in print."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib import resources

from .pictures import Picture
from .records import Certificate, Line

_GROUPS = (
    ("Floor and bodies", ("floor.", "drops.", "shots.", "objects.")),
    ("The same in Newton", ("newton.",)),
    ("Colliders against what is seen", ("winding.", "rays.", "splats.", "bounds.")),
    ("One frame for all files", ("frame.",)),
    ("A robot's sensors", ("sensors.",)),
    ("Map and free space", ("map.", "space.")),
    ("A robot drives", ("drive.",)),
    ("Scale and files", ("scale.", "size.")),
)
_VERDICTS = {
    "passed": ("Certified", "Every check was measured and holds."),
    "failed": ("Not certified", "This world was measured and does not hold every limit."),
    "incomplete": ("Not certified", "Nothing failed, but some checks could not be measured here."),
}
_MARKS = {"passed": "✓", "failed": "✗", "not measured": "–", "info": "i"}


def render_page(certificate: Certificate, pictures: Mapping[str, Picture]) -> str:
    """The whole page; holds nothing that differs between two runs on one machine."""
    title, sentence = _VERDICTS[certificate.verdict]
    facts = certificate.facts
    name = escape(str(facts.get("name", "world")))
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in certificate.warnings)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}: {name}</title>{_style()}</head><body><main>"
        f'<section class="hero {certificate.verdict}"><p class="name">{name}</p><h1>{title}</h1>'
        f"<p>{escape(sentence)}</p>{_chips(certificate)}</section>{notes}"
        f"<h2>{'What decided it' if certificate.verdict != 'passed' else 'Closest to the limits'}</h2>"
        f'<div class="worst">{"".join(_worst(line) for line in certificate.worst(_worst_count(certificate)))}</div>'
        f"{_shown(pictures)}"
        f"{''.join(_group(heading, prefixes, certificate) for heading, prefixes in _GROUPS)}"
        f"{_footer(certificate)}</main></body></html>\n"
    )


def _style() -> str:
    return (resources.files("lyra.worldgen.certify") / "style.html").read_text(encoding="utf-8").strip()


def _worst_count(certificate: Certificate) -> int:
    return min(6, max(3, len(certificate.failed)))


def _chips(certificate: Certificate) -> str:
    facts = certificate.facts
    count = {s: sum(line.status == s for line in certificate.lines) for s in ("passed", "failed", "not measured")}
    chips = [f"<b>{count['passed']}</b> checks passed"]
    chips += [f"<b>{count['failed']}</b> failed"] if count["failed"] else []
    chips += [f"<b>{count['not measured']}</b> not measured"] if count["not measured"] else []
    chips.append(f"<b>{float(facts.get('connected_area_m2', 0)):.1f}</b> m² to drive")
    scale = facts.get("scale")
    if isinstance(scale, Mapping):
        chips.append(f"1.00 m is <b>1.00 ± {float(scale['relative_sigma']):.2f}</b> m")
    chips.append("outdoors" if facts.get("outdoors") else "indoors")
    return f'<ul class="chips">{"".join(f"<li>{chip}</li>" for chip in chips)}</ul>'


def _shown(pictures: Mapping[str, Picture]) -> str:
    parts = []
    pair = "".join(_figure(pictures[name], name) for name in ("photo", "view") if name in pictures)
    if pair:
        parts.append(f'<h2>What it looks like</h2><div class="pair">{pair}</div>')
    if "map" in pictures:
        parts.append(f"<h2>What happened in PhysX</h2>{_figure(pictures['map'], 'map')}")
    if "disagreement" in pictures:
        parts.append(f"<h2>Collider against picture</h2>{_figure(pictures['disagreement'], 'disagreement')}")
    if "sensors" in pictures:
        parts.append(f"<h2>Where sensors disagree most</h2>{_figure(pictures['sensors'], 'sensors')}")
    return "".join(parts)


def _figure(picture: Picture, name: str) -> str:
    return f'<figure class="card" id="{name}">{picture.html}<figcaption>{picture.caption}</figcaption></figure>'


def _worst(line: Line) -> str:
    return (
        f'<div class="card {_css(line)}"><p>{escape(line.title)}</p>'
        f'<p class="value">{_number(line.measured)} <small>{escape(line.unit)} · {_limit(line)}</small></p>'
        f'<p class="detail">{escape(line.detail)}</p></div>'
    )


def _group(heading: str, prefixes: tuple[str, ...], certificate: Certificate) -> str:
    lines = [line for line in certificate.lines if line.id.startswith(prefixes)]
    if not lines:
        return ""
    return f'<h2>{escape(heading)}</h2><div class="card">{"".join(_line(line) for line in lines)}</div>'


def _line(line: Line) -> str:
    return (
        f'<div class="line {_css(line)}" id="{escape(line.id)}"><div class="mark" title="{line.status}">'
        f"{_MARKS[line.status]}</div><h3>{escape(line.title)}</h3>"
        f'<div class="value">{_number(line.measured)} {escape(line.unit)}</div>'
        f'<div class="detail">{escape(line.detail)}</div><div class="limit">{_limit(line)}</div></div>'
    )


def _css(line: Line) -> str:
    return line.status.replace(" ", "-")


def _limit(line: Line) -> str:
    if line.limit is None:
        return "for information"
    unit = line.unit if len(line.unit) <= 2 else ""
    return f"limit {'≤' if line.comparison == '<=' else '≥'} {_number(line.limit)} {escape(unit)}".rstrip()


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    if 0 < abs(value) < 5e-4:
        return "≈ 0"
    if value == 0 or abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 99.5:
        # 99.99 must not look like 100.
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.3g}".replace("-", "−")


def _footer(certificate: Certificate) -> str:
    facts = certificate.facts
    robot = facts.get("robot")
    parts = []
    if isinstance(robot, Mapping):
        parts.append(f"Robot: {robot['radius_m']:g} m radius, {robot['height_m']:g} m high.")
    if "collision_shapes" in facts:
        parts.append(f"{facts['collision_shapes']} colliders, {facts.get('faces', 0)} visible triangles.")
    versions = facts.get("versions")
    if isinstance(versions, Mapping):
        parts.append(
            "Measured with " + ", ".join(f"{escape(str(k))} {escape(str(v))}" for k, v in versions.items()) + "."
        )
    if facts.get("photo_sha256"):
        parts.append(f"Photo <code>{escape(str(facts['photo_sha256']))}</code>.")
    parts.append("The same numbers, and the times they took, are in <code>certificate.json</code>.")
    return f"<footer>{' '.join(parts)}</footer>"

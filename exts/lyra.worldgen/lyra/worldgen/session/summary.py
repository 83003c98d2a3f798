"""A world in values that programs read: what every face says about a world."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..core.world import World

MAX_CERTIFICATE_BYTES = 64 * 2**20


def world_values(world: World) -> dict[str, Any]:
    """Where a world is, its verdict, room, scale and licence; JSON values."""
    from ..core.licences import is_research_only
    from ..core.manifest import manifest_to_json

    manifest, certificate = world.manifest, read_certificate(world)
    facts = certificate.get("facts")
    facts = facts if isinstance(facts, dict) else {}
    scale = manifest.scale
    return {
        "folder": str(world.folder.resolve()),
        "id": manifest.id,
        "finished": world.finished,
        "verdict": manifest.verdict or None,
        "passed": {"passed": True, "failed": False}.get(manifest.verdict),
        "summary": certificate.get("summary"),
        "free_area_m2": facts.get("free_area_m2"),
        "connected_area_m2": facts.get("connected_area_m2"),
        "relative_scale_sigma": None if scale is None else scale.relative_sigma,
        "scale": manifest_to_json(manifest)["scale"],
        "confidence": manifest.confidence,
        "mode": manifest.mode,
        "licence": manifest.licence,
        "research_only": is_research_only(manifest.licence),
        "seconds": round(sum(r.seconds for name, r in manifest.stages.items() if "/" not in name), 1),
    }


def read_certificate(world: World) -> dict[str, Any]:
    """Content of `certificate.json`, or nothing when it is absent or makes no sense."""
    if not world.has("certificate.json"):
        return {}
    try:
        path = world.path("certificate.json")
        if path.stat().st_size > MAX_CERTIFICATE_BYTES:
            return {}
        plain = json.loads(path.read_bytes())
    except (InputError, OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}

"""Licences of what a world is made of: which one binds it, and what its owner stated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .config import SourceConfig

_PERMISSIVE = ("CC0-1.0", "Unlicense", "0BSD", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0")
_ATTRIBUTION = ("CC-BY-4.0", "ODC-By-1.0")
_SHARE_ALIKE = ("CC-BY-SA-4.0", "ODbL-1.0", "LGPL-3.0", "GPL-3.0", "AGPL-3.0")
_LICENCE_ORDER = (*_PERMISSIVE, *_ATTRIBUTION, *_SHARE_ALIKE)


def stated_licence(manifest: Mapping[str, Any]) -> str:
    """Licence of the photo or file that a world comes from, as its owner stated it; empty if nobody did.

    Args:
        manifest: content of `world.json`, which need not be of this version.
    """
    config = manifest.get("config")
    sources = (manifest.get("source"), config.get("source") if isinstance(config, Mapping) else None)
    stated = (source.get("licence") for source in sources if isinstance(source, Mapping))
    return next((text for text in stated if isinstance(text, str) and text not in ("", SourceConfig.licence)), "")


def strictest_licence(licences: Iterable[str]) -> str:
    """The licence that binds a work made of parts; unknown texts count as stricter than all known ones.

    Several unknown licences are joined, because nothing says that one of them contains the others. A text that begins
    with "none" means that no foreign weights took part, so nothing but the rights in the photo binds the work.
    """
    parts = sorted({text for text in licences if text and not text.lower().startswith("none")})
    unknown = [text for text in parts if text not in _LICENCE_ORDER]
    if unknown:
        return " AND ".join(unknown)
    return max(parts, key=_LICENCE_ORDER.index) if parts else "none"


def is_research_only(licence: str) -> bool:
    """Whether a licence, by its SPDX id or short text, forbids commercial use or anything but research."""
    text = licence.lower().replace("-", " ").replace("_", " ")
    words = ("research only", "non commercial", "noncommercial", "not commercial", "by nc", "internal scientific")
    return any(word in text for word in words)

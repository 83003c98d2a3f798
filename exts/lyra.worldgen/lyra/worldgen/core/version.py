"""Which program this is."""

from __future__ import annotations

__version__ = "0.1.0"


def generator_name() -> str:
    """Name and version, as worlds tell who made them."""
    return f"lyra.worldgen {__version__}"

"""One photo in, a sim-ready world out."""

from __future__ import annotations

__version__ = "0.1.0"

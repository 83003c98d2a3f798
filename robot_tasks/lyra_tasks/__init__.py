"""Robot-learning side of lyra.worldgen: worlds as data for tasks."""

from __future__ import annotations

__version__ = "0.1.0"

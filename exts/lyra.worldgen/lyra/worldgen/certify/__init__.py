"""The certificate of a world: `certify_world` measures a finished world folder in PhysX and writes what it found."""

from __future__ import annotations

from .records import Certificate as Certificate
from .records import Line as Line
from .run import certify_world as certify_world

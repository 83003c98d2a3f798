"""Variants of a finished world: light, lamps, colours, materials, friction, things, mirror images, flawed splats."""

from __future__ import annotations

from .config import VaryConfig as VaryConfig
from .config import load_vary_config as load_vary_config
from .run import Variants as Variants
from .run import vary_world as vary_world

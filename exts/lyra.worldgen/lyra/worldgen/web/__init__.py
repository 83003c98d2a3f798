"""A finished world as a folder that any web server shows: walked in first person, in a browser or a headset."""

from __future__ import annotations

from .export import Site as Site
from .export import export_site as export_site

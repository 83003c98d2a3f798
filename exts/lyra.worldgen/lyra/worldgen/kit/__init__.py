"""The extension inside Isaac Sim: a window over a controller that needs no Kit.

Kit imports this package and looks for the extension class in it; outside Kit only `controller` and `jobs` are of use.
"""

from __future__ import annotations

try:
    import omni.ext  # noqa: F401 - asks whether this is Kit
except ImportError:
    pass
else:
    from .extension import Extension as Extension

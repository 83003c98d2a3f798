"""Imports every package that the extras bring and names what is missing, system libraries with their Debian package.

python tools/probe_install.py [--without EXTRA]
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys

MODULES = {
    "gen": ("torch", "diffusers", "cv2", "numba", "scipy", "embreex.rtcore_scene"),
    "recon": ("trimesh", "xatlas", "fast_simplification"),
    "sim": ("pxr.Usd",),
    "physx": ("ovphysx", "ovstage", "physx_usd_schemas"),
}
DEBIAN = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libGLU.so": "libglu1-mesa",
    "libgomp.so": "libgomp1",
    "libglib-2.0.so": "libglib2.0-0",
    "libgthread-2.0.so": "libglib2.0-0",
    "libusb-1.0.so": "libusb-1.0-0",
    "libX11.so": "libx11-6",
    "libXt.so": "libxt6",
    "libSM.so": "libsm6",
    "libICE.so": "libice6",
    "libXext.so": "libxext6",
    "libXrender.so": "libxrender1",
    "libstdc++.so": "libstdc++6",
    "libvulkan.so": "libvulkan1",
}
"""Stem of a shared library: the Debian package that brings it."""


def advice(message: str) -> str:
    """What to do about an import error."""
    match = re.search(r"(lib[\w+.-]*?\.so)[.\d]*: cannot open shared object file", message)
    if not match:
        return "run tools/quickstart.sh again; if that does not help, remove .venv first"
    package = DEBIAN.get(match[1])
    return f"apt-get install {package}" if package else f"install the system package that holds {match[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--without", action="append", default=[], choices=sorted(MODULES), help="extra to leave out")
    skip = parser.parse_args().without
    broken = 0
    for extra, modules in MODULES.items():
        for module in modules if extra not in skip else ():
            try:
                importlib.import_module(module)
            except (ImportError, OSError) as error:
                broken += 1
                print(f"error: {module} ({extra}) cannot be imported: {error}\n  {advice(str(error))}", file=sys.stderr)
    return 3 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

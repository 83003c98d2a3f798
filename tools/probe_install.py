"""Imports every package that some extras bring and names what is missing, system libraries with their Debian package.

python tools/probe_install.py EXTRA,EXTRA,...
"""

from __future__ import annotations

import re
import sys

from lyra.worldgen.cli.doctor import PACKAGES, Package, probe_imports

DEBIAN = {
    "libEGL.so": "libegl1",
    "libGL.so": "libgl1",
    "libGLU.so": "libglu1-mesa",
    "libICE.so": "libice6",
    "libSM.so": "libsm6",
    "libX11.so": "libx11-6",
    "libXext.so": "libxext6",
    "libXrender.so": "libxrender1",
    "libXt.so": "libxt6",
    "libglib-2.0.so": "libglib2.0-0",
    "libgomp.so": "libgomp1",
    "libgthread-2.0.so": "libglib2.0-0",
    "libstdc++.so": "libstdc++6",
    "libusb-1.0.so": "libusb-1.0-0",
    "libvulkan.so": "libvulkan1",
}
"""Stem of a shared library: the Debian package that brings it."""


def advice(problem: str) -> str:
    """What to do about an import error."""
    match = re.search(r"(lib[\w+.-]*?\.so)[.\d]*: cannot open shared object file", problem)
    if not match:
        return "run tools/quickstart.sh again; if that does not help, remove .venv first"
    package = DEBIAN.get(match[1])
    return f"apt-get install {package}" if package else f"install the system package that holds {match[1]}"


def packages_of(extras: str) -> dict[str, Package]:
    """What an installation with these extras, `gen,sim`, has to be able to import, by module."""
    asked = {"core", *extras.split(",")}
    return {package.module: package for package in PACKAGES if package.extra in asked}


def main() -> int:
    wanted = packages_of(sys.argv[1] if len(sys.argv) > 1 else "")
    problems = {module: text for module, text in probe_imports(list(wanted)).items() if text}
    for module, text in problems.items():
        print(f"error: {wanted[module].distribution} cannot be imported: {text}\n  {advice(text)}", file=sys.stderr)
    return 3 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

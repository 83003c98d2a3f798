"""What has to be mended in other people's releases, each with a check that the fault is still there.

Isaac Lab 3.0.0 with OvPhysX allocates pinned host memory for every articulation, which Warp refuses to do on a machine
without CUDA; ovphysx releases other than the one that Isaac Lab pins fail later, with messages that do not say why.
"""

from __future__ import annotations

import importlib.metadata

from lyra.worldgen.core.errors import DependencyError

ISAACLAB = "3.0.0"
"""The release that this package was run against."""
OVPHYSX = {"ovphysx": "0.6.4.72118723", "ovstage": "0.2.1.385922"}
"""The pair that Isaac Lab 3.0.0 asks for."""


def check_ovphysx() -> None:
    """Refuse a pair of ovphysx and ovstage that Isaac Lab cannot work with.

    Raises:
        DependencyError: one of them is missing or another release.
    """
    for name, wanted in OVPHYSX.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            raise DependencyError(
                f"physics=ovphysx needs {name}=={wanted}, found: {found}; install it with: "
                f"pip install {' '.join(f'{n}=={v}' for n, v in OVPHYSX.items())}"
            )


def allow_pinned_memory_without_cuda() -> bool:
    """Let Warp serve requests for pinned host memory from its ordinary allocator where there is no CUDA.

    Returns:
        Whether anything had to be changed.

    Raises:
        DependencyError: this Warp is built differently.
    """
    import warp as wp

    wp.init()
    if wp.is_cuda_available():
        return False
    cpu = wp.get_device("cpu")
    # No public switch exists; asking for pinned memory to see whether it works makes Warp print an error.
    if not (hasattr(cpu, "pinned_allocator") and hasattr(cpu, "default_allocator")):
        raise DependencyError(
            f"warp {wp.__version__} is not known to give pinned memory without CUDA, which OvPhysX asks for; "
            "use physics=newton_mjwarp or a machine with CUDA"
        )
    if cpu.pinned_allocator is cpu.default_allocator:
        return False
    cpu.pinned_allocator = cpu.default_allocator
    return True

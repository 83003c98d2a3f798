"""`lyra-worldgen doctor`: what this machine can run, what is missing, what that costs and how to get it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.machine import core_count, free_memory_bytes
from ..generation.lyra2.memory_plan import CARDS, Card, card_of, estimates_to_json, table_rows
from ..generation.residency import MachineMemory, largest_that_fits
from .flags import add_output_flags
from .terminal import Console, table

PROBE_TIMEOUT_S = 120.0
NEED_DISK_GIB = 1.0
NEED_MEMORY_GIB = 4.0


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that does something for us."""

    module: str
    distribution: str
    extra: str
    """Extra that installs it; empty for what is only offered."""
    without: str
    """What does not work without it."""


PACKAGES = (
    Package(module="numpy", distribution="numpy", extra="core", without="nothing works"),
    Package(module="yaml", distribution="PyYAML", extra="core", without="nothing works"),
    Package(module="PIL.Image", distribution="pillow", extra="core", without="nothing works"),
    Package(module="scipy", distribution="scipy", extra="gen", without="generate"),
    Package(module="cv2", distribution="opencv-python-headless", extra="gen", without="generate"),
    Package(module="torch", distribution="torch", extra="gen", without="painters; labels by colour only"),
    Package(module="diffusers", distribution="diffusers", extra="gen", without="painters"),
    Package(module="numba", distribution="numba", extra="gen", without="generate"),
    Package(module="embreex.rtcore_scene", distribution="embreex", extra="gen", without="generate"),
    Package(module="trimesh", distribution="trimesh", extra="recon", without="reconstruction, colliders"),
    Package(module="skimage", distribution="scikit-image", extra="recon", without="surfaces of views without a proxy"),
    Package(module="xatlas", distribution="xatlas", extra="recon", without="textures"),
    Package(module="fast_simplification", distribution="fast-simplification", extra="recon", without="colliders"),
    Package(module="pxr.Usd", distribution="usd-core", extra="sim", without="USD files"),
    Package(module="ovphysx", distribution="ovphysx", extra="physx", without="physics in the certificate"),
    Package(module="physx_usd_schemas", distribution="physx-usd-schemas", extra="physx", without="physics settings"),
    Package(module="newton_usd_schemas", distribution="newton-usd-schemas", extra="physx", without="ovphysx"),
    Package(module="newton", distribution="newton", extra="newton", without="certify --newton"),
    Package(module="mujoco_warp", distribution="mujoco-warp", extra="newton", without="certify --newton"),
    Package(module="coacd", distribution="coacd", extra="convex", without="few convex pieces of scanned things"),
    Package(module="matplotlib", distribution="matplotlib", extra="evaluate", without="evaluate"),
    Package(module="torchmetrics", distribution="torchmetrics", extra="metrics", without="LPIPS, FID, KID"),
    Package(module="torch_fidelity", distribution="torch-fidelity", extra="fid", without="FID, KID"),
    Package(module="gsplat", distribution="gsplat", extra="", without="splat optimisation on a GPU"),
    Package(module="open3d", distribution="open3d", extra="", without="TSDF fusion"),
    Package(module="transformers", distribution="transformers", extra="models", without="foreign weights"),
    Package(module="accelerate", distribution="accelerate", extra="models", without="models larger than the GPU"),
    Package(module="fastapi", distribution="fastapi", extra="serve", without="serve"),
    Package(module="uvicorn", distribution="uvicorn", extra="serve", without="serve"),
    Package(module="prometheus_client", distribution="prometheus-client", extra="serve", without="serve"),
    Package(module="viser", distribution="viser", extra="explore", without="explore"),
    Package(module="tensorboard", distribution="tensorboard", extra="train", without="curves of training but as JSON"),
)
PROBE = """
import importlib, json, os, sys
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for name in sys.argv[1:]:
    print(json.dumps({"begin": name}), flush=True)
    try:
        importlib.import_module(name)
        problem = ""
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    print(json.dumps({"end": name, "problem": problem}), flush=True)
"""
GPU_PROBE = """
import json, torch
n = torch.cuda.device_count() if torch.cuda.is_available() else 0
p = [torch.cuda.get_device_properties(i) for i in range(n)]
names = [f"{x.name}, {x.total_memory / 2**30:.0f} GiB" for x in p]
free = torch.cuda.mem_get_info(0)[0] if n else 0
print(json.dumps({"names": names, "free": free, "bfloat16": bool(n) and torch.cuda.is_bf16_supported()}))
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table."""

    name: str
    status: str
    """`ok`, `missing`, `broken`, `low` or `none`."""
    found: str
    remedy: str = ""
    needed: bool = False
    """Whether `generate` cannot run without it."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    text = "show what this machine can run and what is missing"
    parser = commands.add_parser(
        "doctor",
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="""\
examples:
  lyra-worldgen doctor
  lyra-worldgen doctor --json

Every package is imported once in a process of its own, which takes some seconds. Nothing is downloaded or changed.
Exit code 3 if `generate` cannot run here; the table says what to install.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the table; exit code 3 if `generate` cannot run."""
    from ..build import choose_painter

    console.note("looking (imports every package once, some seconds) ...")
    gpu = gpu_facts()
    checks = [*system_checks(gpu), *package_checks(PACKAGES)]
    here = lyra2_card(gpu)
    painter, why = choose_painter()
    stopped = [check.name for check in checks if check.needed and check.status in ("missing", "broken")]
    rows = [(check.status, check.name, check.found, check.remedy) for check in checks]
    lines = [table(rows), "", f"painter: {painter} ({why})", "", *lyra2_lines(here), ""]
    lines.append(f"generate cannot run: {', '.join(stopped)}" if stopped else "generate can run on this machine")
    values = {
        "checks": [asdict(check) for check in checks],
        "painter": painter,
        "painter_why": why,
        "can_generate": not stopped,
        "lyra2": estimates_to_json(CARDS) + _lyra2_here(here),
    }
    console.result("\n".join(lines), values)
    return 3 if stopped else 0


def lyra2_card(gpu: dict[str, Any]) -> Card | None:
    """The first CUDA device with what is free on it; None without one."""
    names = gpu.get("names", [])
    return card_of(f"here: {names[0]}", int(gpu.get("free", 0))) if names else None


def lyra2_lines(here: Card | None) -> list[str]:
    """What the released Lyra 2.0 takes on some cards and on this machine's."""
    rows = table_rows(CARDS)
    if here is not None:
        rows += table_rows([here], ram_bytes=free_memory_bytes())[1:]
    lines = ["Lyra 2.0 at 832 x 480 (--painter lyra2), calculated and never measured with the released weights:"]
    lines += [f"  {line}" for line in table(rows).splitlines()]
    if here is None:
        lines.append("  here: no CUDA device; on a CPU a chunk takes days")
    return lines


def _lyra2_here(here: Card | None) -> list[dict[str, Any]]:
    return [] if here is None else estimates_to_json([here], ram_bytes=free_memory_bytes())


def system_checks(gpu: dict[str, Any] | None = None) -> list[Check]:
    """Python, processor, memory, disk, GPU; `gpu` as `gpu_facts` gives it, asked for when None."""
    version = platform.python_version()
    good_python = (3, 11) <= sys.version_info < (3, 13)
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    memory_bytes = free_memory_bytes()
    memory_gib = None if memory_bytes is None else memory_bytes / 2**30
    gpu = gpu_facts() if gpu is None else gpu
    gpus = gpu.get("names", [])
    memory = MachineMemory(
        ram_bytes=memory_bytes, gpu_bytes=gpu.get("free", 0), bfloat16=bool(gpu.get("bfloat16", False))
    )
    return [
        Check(
            name="python",
            status="ok" if good_python else "broken",
            found=f"{version} on {platform.system()} {platform.machine()}",
            remedy="" if good_python else "use Python 3.11 or 3.12",
            needed=True,
        ),
        Check(name="cores", status="ok", found=str(core_count())),
        Check(
            name="memory",
            status="ok" if memory_gib is None or memory_gib >= NEED_MEMORY_GIB else "low",
            found="unknown" if memory_gib is None else f"{memory_gib:.1f} GiB",
            remedy=""
            if memory_gib is None or memory_gib >= NEED_MEMORY_GIB
            else f"a world takes up to {NEED_MEMORY_GIB:.0f} GiB: use config/generation/fast.yaml",
        ),
        Check(
            name="disk",
            status="ok" if free_gib >= NEED_DISK_GIB else "low",
            found=f"{free_gib:.1f} GiB free here",
            remedy="" if free_gib >= NEED_DISK_GIB else f"a world takes up to {NEED_DISK_GIB:.0f} GiB: free some space",
        ),
        Check(
            name="gpu",
            status="ok" if gpus else "none",
            found="; ".join(gpus) or "no CUDA device that torch can use",
            remedy="" if gpus else "not needed: the embedded back-ends run on the CPU",
        ),
        Check(name="models", status="ok", found=f"largest that fit: {largest_that_fits(memory)}"),
    ]


def package_checks(packages: tuple[Package, ...]) -> list[Check]:
    """Import every package in another process and say what is missing."""
    problems = probe_imports([package.module for package in packages])
    checks = []
    for package in packages:
        problem = problems[package.module]
        try:
            version = importlib.metadata.version(package.distribution)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        offered = package.extra == ""
        if not problem:
            status, found, remedy = "ok", version or "installed", ""
        elif not version:
            status = "none" if offered else "missing"
            found = f"not installed; without it: no {package.without}"
            name = package.distribution if offered else f"'lyra-worldgen[{package.extra}]'"
            remedy = f"pip install {name}"
        else:
            status = "broken"
            found = f"{version} cannot be imported ({problem}); without it: no {package.without}"
            remedy = f"pip install --force-reinstall {package.distribution}"
        checks.append(
            Check(
                name=package.distribution,
                status=status,
                found=found,
                remedy=remedy,
                needed=package.extra in ("core", "gen", "recon", "sim"),
            )
        )
    return checks


def probe_imports(modules: list[str]) -> dict[str, str]:
    """Why each module cannot be imported, empty if it can; a module that crashes the process costs only itself."""
    problems: dict[str, str] = {}
    left = list(modules)
    while left:
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", PROBE, *left],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_TIMEOUT_S,
                text=True,
                errors="replace",
                check=False,
            )
            output, end = done.stdout, f"the process ended with {done.returncode}"
        except subprocess.TimeoutExpired as error:
            raw = error.stdout or b""
            output = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
            end = f"importing took longer than {PROBE_TIMEOUT_S:.0f} s"
        current = left[0]
        for line in output.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # what the package itself prints
            if isinstance(event, dict) and event.get("begin") in left:
                current = event["begin"]
            elif isinstance(event, dict) and event.get("end") in left:
                problems[event["end"]] = str(event.get("problem", ""))
        if not all(module in problems for module in left):
            problems.setdefault(current, end)
        left = [module for module in left if module not in problems]
    return problems


def gpu_facts() -> dict[str, Any]:
    """Names of the CUDA devices, free memory of the first and whether it computes in bfloat16; empty without torch."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", GPU_PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            text=True,
            check=False,
        )
        facts = json.loads(done.stdout.splitlines()[-1])
        return facts if isinstance(facts, dict) else {}
    except (subprocess.TimeoutExpired, ValueError, IndexError, OSError):
        return {}

"""`certify_world`: read the folder, plan, let PhysX measure, judge, write `certificate.json` and `certificate.html`."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config import CertificateConfig
from ..core.files import write_json, write_text
from ..core.progress import SILENT, SupportsProgress
from ..sim.child_process import Outcome
from ..sim.physx_job import PhysxResult
from ..sim.physx_process import INSTALL_HINT, run_physx_job
from .judge import Evidence, judge, unmeasured_lines
from .newton import NewtonPart, newton_part
from .one_frame import FrameAgreement, frame_lines
from .page import render_page
from .pictures import draw_pictures
from .plan import Plan, make_plan
from .records import Certificate, Line
from .sensor_agreement import SensorEvidence, sensor_lines
from .space import FreeSpace, analyse
from .splat_depth import splat_lines
from .world_data import WorldData, origin_of, read_world

MIN_AREA_M2 = 15.0
TRUSTED_SIGMA = 0.15
"""Above this relative uncertainty a world's metres are called untrusted."""


def certify_world(
    folder: Path,
    *,
    cfg: CertificateConfig | None = None,
    progress: SupportsProgress = SILENT,
    python: str | None = None,
) -> Certificate:
    """Measure a finished world and write `certificate.json` and `certificate.html` into its folder.

    A world that fails, or that cannot be measured on this machine, gets a certificate that says so. The physics run in
    a child process and never touch the world's own files.

    Args:
        folder: the world.
        cfg: how hard to test.
        progress: told about `certify` and `physics`.
        python: interpreter of the physics process, see `run_physx_job`.

    Raises:
        InputError: the folder holds no finished world, or cannot be written.
        Cancelled: through `progress`.
    """
    cfg = cfg or CertificateConfig()
    folder = Path(folder)
    started = time.perf_counter()
    progress.step("certify", 0, 4, "reading the world")
    world = read_world(folder)
    space = analyse(world.grid, world.robot_radius_m)
    plan = make_plan(world, space, cfg)
    planned = time.perf_counter()
    progress.step("certify", 1, 4, "PhysX")
    # What is only looked at needs no physics, and PhysX keeps one core busy in a process of its own.
    beside = ThreadPoolExecutor(max_workers=1)
    looks = beside.submit(_looked_at, world, space, folder)
    beside.shutdown(wait=False)
    with tempfile.TemporaryDirectory(prefix="lyra-certify-") as workdir:
        outcome = run_physx_job(plan.job, Path(workdir), timeout_s=cfg.timeout_s, python=python, progress=progress)
        simulated = time.perf_counter()
        newton = NewtonPart(lines=())
        if cfg.newton:
            progress.step("certify", 1, 4, "Newton; its first run on a machine takes minutes")
            newton = newton_part(world, plan, Path(workdir), progress=progress)
    dropped = time.perf_counter()
    progress.step("certify", 2, 4, "judging")
    evidence: Evidence | None = None
    if outcome.result is None:
        lines = list(unmeasured_lines(outcome.problem))
    else:
        judgement = judge(world, space, plan, outcome.result)
        lines, evidence = list(judgement.lines), judgement.evidence
        lines += splat_lines(world, plan, outcome.result)
    look = looks.result()
    lines += [*newton.lines, *look.lines, *_space_lines(world, space), *_size_lines(world)]
    timings = {"read": planned - started, "physics": simulated - planned, **look.timings_s}
    if cfg.newton:
        timings |= {"newton": dropped - simulated}
        timings |= {f"newton_{name}": seconds for name, seconds in newton.timings_s.items()}
    if outcome.result is not None:
        timings |= {f"physx_{name}": seconds for name, seconds in outcome.result.timings_s.items()}
    progress.step("certify", 3, 4, "drawing")
    timings["total"] = time.perf_counter() - started
    certificate = Certificate(
        lines=tuple(lines),
        facts=_facts(world, space, plan, outcome, newton)
        | {"frames": [frame.as_dict() for frame in look.frames], "sensors": look.sensors.as_dict()},
        drives=_drives(outcome),
        warnings=(*_warnings(world, outcome), *newton.warnings),
        timings_s=timings,
    )
    pictures = draw_pictures(world, space, evidence, look.sensors)
    write_text(folder / "certificate.html", render_page(certificate, pictures))
    write_json(folder / "certificate.json", certificate.as_dict())
    progress.step("certify", 4, 4, certificate.summary)
    return certificate


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What was found without physics."""

    lines: tuple[Line, ...]
    frames: tuple[FrameAgreement, ...]
    sensors: SensorEvidence
    timings_s: dict[str, float]


def _looked_at(world: WorldData, space: FreeSpace, folder: Path) -> _Look:
    """Whether everything is drawn in one frame, and whether sensors see the same in splats, mesh and collider."""
    started = time.perf_counter()
    one_frame, frames = frame_lines(folder)
    framed = time.perf_counter()
    sensed, sensors = sensor_lines(world, space)
    timings = {"frames": framed - started, "sensors": time.perf_counter() - framed}
    return _Look(lines=(*one_frame, *sensed), frames=frames, sensors=sensors, timings_s=timings)


def _space_lines(world: WorldData, space: FreeSpace) -> list[Line]:
    fits_m2 = float(space.fits().sum()) * space.grid.cell_m**2
    return [
        Line(
            id="space.area",
            title="There is room to drive",
            measured=space.connected_area_m2,
            unit="m²",
            limit=MIN_AREA_M2,
            comparison=">=",
            detail=f"Connected free floor; {space.free_area_m2:.1f} m² of free floor in all, "
            f"the robot's centre fits on {fits_m2:.1f} m².",
            picture="map",
        ),
        Line(
            id="space.connected",
            title="The robot can reach nearly all of it",
            measured=100 * space.connected_share,
            unit="%",
            limit=80.0,
            comparison=">=",
            detail=f"Largest connected part of where a robot of {world.robot_radius_m:g} m radius fits.",
            picture="map",
        ),
    ]


def _size_lines(world: WorldData) -> list[Line]:
    lines = []
    for id, title, patterns, limit in (
        ("size.usd", "The USD stage stays handy", ("*.usda", "payloads/**/*"), 600.0),
        ("size.all", "The whole folder", ("**/*",), None),
    ):
        files = {p for pattern in patterns for p in world.folder.glob(pattern) if p.is_file()}
        if id == "size.all":
            # The certificate itself and what the preview draws from it come later; their size is nobody's concern.
            files = {p for p in files if not p.name.startswith((".", "certificate.", "preview.", "walkthrough."))}
            files = {p for p in files if ".thumbs" not in p.parts and p.name != "world.json"}
        mib = sum(p.stat().st_size for p in files) / 2**20
        lines.append(Line(id=id, title=title, measured=mib, unit="MiB", limit=limit, detail=f"{len(files)} files."))
    scale = _scale(world)
    sigma = None if scale is None else scale[1]
    lines.append(
        Line(
            id="scale.sigma",
            title="How well the metres are known",
            measured=None if sigma is None else 100 * sigma,
            unit="% (one sigma)",
            detail="The world does not say what its scale rests on."
            if scale is None
            else f"1.00 m is 1.00 ± {scale[1]:.2f} m, from: {'; '.join(_said(world)) or scale[0].replace('_', ' ')}.",
        )
    )
    return lines


def _simulated(world: WorldData) -> dict[str, Any]:
    """Facts that the stage `simulate` noted in `world.json`; empty for folders without."""
    place: Any = world.manifest
    for name in ("stages", "simulate", "facts"):
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else {}


def _drives(outcome: Outcome[PhysxResult]) -> tuple[dict[str, Any], ...]:
    if outcome.result is None:
        return ()
    return tuple(
        {
            "reached": drive.reached,
            "driven_m": round(drive.driven_m, 3),
            "trace_xy_m": np.round(drive.trace_xy_m[::3], 3).tolist(),
        }
        for drive in outcome.result.drives
    )


def _scale(world: WorldData) -> tuple[str, float] | None:
    scale = world.manifest.get("scale")
    if not isinstance(scale, dict):
        return None
    sigma = scale.get("relative_sigma")
    return (str(scale.get("source", "unknown")), float(sigma)) if isinstance(sigma, int | float) else None


def _said(world: WorldData) -> list[str]:
    """What the evidence that counted says."""
    scale = world.manifest.get("scale")
    pieces = scale.get("evidence") if isinstance(scale, dict) else None
    pieces = [piece for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []
    return [str(piece.get("says", ""))[:160] for piece in pieces[:20] if piece.get("used") is True]


def _warnings(world: WorldData, outcome: Outcome[PhysxResult]) -> list[str]:
    warnings = []
    if outcome.missing:
        warnings.append(f"Physics was not measured, because PhysX is not installed; {INSTALL_HINT}")
    elif outcome.result is None:
        warnings.append(f"Physics was not measured: {outcome.problem}.")
    scale = _scale(world)
    if scale is None or scale[1] > TRUSTED_SIGMA:
        known = "is not recorded" if scale is None else f"has an uncertainty of {100 * scale[1]:.0f} %"
        warnings.append(
            f"The scale {known}; tell what is known about it (lyra-worldgen rescale) before you trust sizes in metres."
        )
    return warnings


def _facts(
    world: WorldData, space: FreeSpace, plan: Plan, outcome: Outcome[PhysxResult], newton: NewtonPart
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": world.name,
        "photo_sha256": origin_of(world.manifest).get("sha256", ""),
        "outdoors": world.outdoors,
        "robot": {"radius_m": world.robot_radius_m, "height_m": world.robot_height_m},
        "free_area_m2": round(space.free_area_m2, 2),
        "connected_area_m2": round(space.connected_area_m2, 2),
        "episodes_driven": len(plan.drives),
        "faces": world.mesh.face_count,
    }
    scale = _scale(world)
    if scale is not None:
        facts["scale"] = {"source": scale[0], "relative_sigma": round(scale[1], 4)}
        stated = world.manifest.get("scale")
        factor = stated.get("metres_per_unit") if isinstance(stated, dict) else None
        if isinstance(factor, int | float) and factor != 1.0:
            facts["scale"]["metres_per_unit"] = factor
    materials = _simulated(world).get("materials")
    if isinstance(materials, dict):
        facts["materials"] = materials
    versions = dict(newton.versions)
    if outcome.result is not None:
        facts["collision_shapes"] = int(outcome.result.counts.get("collision_shapes", 0))
        versions |= outcome.result.versions
    if versions:
        facts["versions"] = dict(sorted(versions.items()))
    return facts

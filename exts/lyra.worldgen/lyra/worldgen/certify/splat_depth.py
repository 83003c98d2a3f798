"""Do the splats lie where the colliders are? Depth rendered from splats against PhysX rays through the same pixels."""

from __future__ import annotations

import numpy as np

from ..core.errors import DependencyError, InputError
from ..reconstruction.splat_render import render_splats
from ..sim.physx_job import PhysxResult
from .plan import SPLAT_STRIDE, Plan
from .records import Line
from .world_data import WorldData, world_splats

COMPARED_M = 10.0
"""Farther surfaces are scenery: nobody measures them by splats [m]."""
LIMIT_PERCENT = 1.5
"""What depth cameras are off by, in proportion to the distance."""
COVERED = 0.9
"""Opacity from which a pixel's depth means something."""


def splat_lines(world: WorldData, plan: Plan, result: PhysxResult) -> list[Line]:
    """Lines about splats; none for a world without them."""
    if not plan.splat_views:
        return []
    title = "Splats lie where the colliders are"
    try:
        splats = world_splats(world.folder)
        errors, relative, covered, counted = [], [], 0, 0
        for i, (camera, T_world_cam) in enumerate(plan.splat_views):
            image = render_splats(splats, camera, T_world_cam)
            middle = slice(SPLAT_STRIDE // 2, None, SPLAT_STRIDE)
            alpha = image.alpha[middle, middle].ravel()
            range_m = image.depth_z_m[middle, middle].ravel() * plan.splat_scales[i]
            collider_m = result.rays[f"splat_{i}"]
            near = np.isfinite(collider_m) & (collider_m < COMPARED_M)
            covered += int((alpha[near] >= COVERED).sum())
            counted += int(near.sum())
            sure = near & (alpha >= COVERED)
            errors.append(np.abs(range_m - collider_m)[sure])
            relative.append(errors[-1] / collider_m[sure])
    except (InputError, DependencyError) as error:
        return [
            Line(
                id="splats.median",
                title=title,
                measured=None,
                unit="%",
                limit=LIMIT_PERCENT,
                detail=str(error).splitlines()[0],
            )
        ]
    error, share = np.concatenate(errors), np.concatenate(relative)
    absolute = f"median {100 * np.median(error):.1f} cm; " if len(error) else ""
    detail = (
        f"{len(error)} pixels of {len(plan.splat_views)} views nearer than {COMPARED_M:g} m, relative to the distance; "
        f"{absolute}splats cover {100 * covered / max(counted, 1):.1f} % of them."
    )
    median, p95 = (100 * float(np.percentile(share, q)) if len(share) else None for q in (50, 95))
    return [
        Line(id="splats.median", title=title, measured=median, unit="%", limit=LIMIT_PERCENT, detail=detail),
        Line(
            id="splats.p95",
            title="The same for the worst twentieth of the pixels",
            measured=p95,
            unit="%",
            detail="Soft outlines of splats make this large; take ground truth depth from the mesh.",
        ),
    ]

"""Do the splats lie where the colliders are? Depth rendered from splats against PhysX rays of the same pixels."""

from __future__ import annotations

from ..sim.physx_job import PhysxResult
from .plan import Plan
from .records import Line
from .world_data import WorldData


def splat_lines(world: WorldData, plan: Plan, result: PhysxResult) -> list[Line]:
    return []

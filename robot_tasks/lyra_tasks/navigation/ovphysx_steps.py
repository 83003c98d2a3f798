"""All physics steps of a step of the task in one call, as Isaac Lab does it with Newton: in between it would write the
same wheel speeds again and read what nobody looks at.
"""

from __future__ import annotations

from typing import Any, ClassVar

from isaaclab_ov.physics.ovphysx_manager import OvPhysxManager


class _KeptInOnePlace(type(OvPhysxManager)):
    """Assets ask `OvPhysxManager` for the running engine, which it keeps in the class that was started: what a class of
    this kind is given is kept there, too."""

    def __setattr__(cls, name: str, value: Any) -> None:
        setattr(OvPhysxManager, name, value)


class OvPhysxWholeStepManager(OvPhysxManager, metaclass=_KeptInOnePlace):
    """PhysX; `step` takes as many physics steps as the task has in one of its own.

    Isaac Lab tells engines by the beginning of the name of this class. Drives of joints act in every physics step;
    forces on bodies, which no task here applies, would act in the first one only.
    """

    steps_per_call: ClassVar[int]

    @classmethod
    def set_decimation(cls, decimation: int) -> None:
        cls.steps_per_call = decimation

    @classmethod
    def handles_decimation(cls) -> bool:
        return True

    @classmethod
    def step(cls) -> None:
        for _ in range(cls.steps_per_call):
            super().step()

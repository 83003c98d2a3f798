"""Newton's step on a processor, recorded once and played back: a step is some 600 kernels, and starting each of them
from Python takes longer than a kernel of a few dozen robots itself. Isaac Lab does the same, with CUDA only.
"""

from __future__ import annotations

from typing import ClassVar

import warp as wp
from isaaclab_newton.physics.mjwarp_manager import NewtonMJWarpManager


class NewtonReplayManager(NewtonMJWarpManager):
    """MuJoCo Warp, whose steps are the same operations on the same arrays as without the recording.

    Isaac Lab tells engines by the beginning of the name of this class.
    """

    _recording: ClassVar[wp.Graph | None] = None
    _warm: ClassVar[bool] = False
    """The step was run once: what is allocated or compiled on first use is there."""

    @classmethod
    def _simulate_full(cls) -> None:
        cls._replay(super()._simulate_full)

    @classmethod
    def _simulate_physics_only(cls) -> None:
        cls._replay(super()._simulate_physics_only)

    @classmethod
    def _replay(cls, simulate) -> None:
        device = wp.get_device()
        own = NewtonReplayManager
        if not device.is_cpu or device.is_capturing or not own._warm:
            simulate()
            own._warm = device.is_cpu and not device.is_capturing
            return
        if own._recording is None:
            with wp.ScopedCapture(device=device) as capture:
                simulate()
            own._recording = capture.graph
        wp.capture_launch(own._recording)

    @classmethod
    def _invalidate_graph(cls) -> None:
        super()._invalidate_graph()
        NewtonReplayManager._forget()

    @classmethod
    def clear(cls) -> None:
        NewtonReplayManager._forget()
        super().clear()

    @classmethod
    def _forget(cls) -> None:
        NewtonReplayManager._recording, NewtonReplayManager._warm = None, False

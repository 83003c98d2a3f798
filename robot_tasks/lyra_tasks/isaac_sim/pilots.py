"""Who steers: the scripted baseline, chance, or a trained policy from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.optional import require

from ..exported import OnnxPolicy
from ..pursuit import PurePursuit, plan
from .drive_loop import Pilot
from .nav_task import NavTask

BASELINE, RANDOM = "baseline", "random"
POLICY_SUFFIXES = (".onnx", ".pt")


def load_pilot(name: str, *, seed: int = 0) -> Pilot:
    """The pilot that a text names.

    Args:
        name: `baseline`, `random`, or a policy that Isaac Lab has exported: ONNX, or TorchScript (`.pt`).
        seed: of the random pilot.

    Raises:
        InputError: the name is neither, or the file is no policy.
        DependencyError: what runs such files is not installed.
    """
    if name == BASELINE:
        return BaselinePilot()
    if name == RANDOM:
        return RandomPilot(seed)
    path = Path(name)
    if not path.is_file() or path.suffix not in POLICY_SUFFIXES:
        raise InputError(
            f"policy is neither '{BASELINE}' nor '{RANDOM}' nor an exported policy ({' or '.join(POLICY_SUFFIXES)}): "
            f"{name}"
        )
    return OnnxPilot(path) if path.suffix == ".onnx" else TorchScriptPilot(path)


class BaselinePilot:
    """Shortest paths and pure pursuit, as in Isaac Lab; knows the map."""

    def __init__(self) -> None:
        self._pursuit = PurePursuit(1)
        self._planned: tuple[int, int, int] | None = None

    def __call__(self, task: NavTask) -> np.ndarray:
        drive = (len(task.driven), task.number, task.leg)
        if drive != self._planned:
            path = plan(
                task.ground,
                np.array(task.state.xy_m),
                task.goal_xy_m,
                footprint_radius_m=task.spec.footprint_radius_m,
            )
            self._pursuit.follow(0, path)
            self._planned = drive
        return self._pursuit.act(np.array([task.state.xy_m]), np.array([task.state.yaw_rad]))[0]


class RandomPilot:
    """Uniform actions from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 0x70696C6F])

    def __call__(self, task: NavTask) -> np.ndarray:
        return self._rng.uniform(-1, 1, 2)


class OnnxPilot:
    """A policy in ONNX."""

    def __init__(self, path: Path) -> None:
        self._policy = OnnxPolicy(path)

    def __call__(self, task: NavTask) -> np.ndarray:
        return self._policy.actions(task.observe()[None])[0]


class TorchScriptPilot:
    """A policy in TorchScript, run by torch."""

    def __init__(self, path: Path) -> None:
        self._torch = require("torch", extra="gen")
        try:
            self._policy = self._torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"is no TorchScript policy ({str(error).splitlines()[0]}): {path}") from error
        self._path = path

    def __call__(self, task: NavTask) -> np.ndarray:
        told = self._torch.from_numpy(task.observe()[None])
        try:
            with self._torch.inference_mode():
                return self._policy(told)[0].numpy()
        except RuntimeError as error:
            raise InputError(
                f"policy does not take the {told.shape[1]} numbers of this task ({str(error).splitlines()[-1]}): "
                f"{self._path}"
            ) from error

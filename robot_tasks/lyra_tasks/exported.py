"""Policies as files that need no learning library: ONNX, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.optional import require

SUFFIX = ".onnx"


class OnnxPolicy:
    """Observations to actions.

    Args:
        path: a table [1, O] or [N, O] and any number of pictures [.., C, H, W] in, one table [.., A] out, float32.

    Raises:
        DependencyError: onnxruntime is not installed.
        InputError: the file is no such network.
    """

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime", extra="tasks")
        self._path = path
        try:
            self._session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime raises a class of its own for every kind of damage.
            raise InputError(f"cannot be run as an ONNX policy ({str(error).splitlines()[0]}): {path}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        sizes = [len(i.shape) for i in inputs]
        if len(outputs) != 1 or sizes != [2, *[4] * (len(inputs) - 1)]:
            raise InputError(
                f"has {len(inputs)} inputs of {sizes} axes and {len(outputs)} outputs; expected a table, perhaps "
                f"pictures after it, and a table out: {path}"
            )
        self._input, self._pictures, self._output = inputs[0], inputs[1:], outputs[0]

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the groups of observations that are pictures."""
        return tuple(i.name for i in self._pictures)

    def actions(self, told: np.ndarray, **pictures: np.ndarray) -> np.ndarray:
        """[N, A] actions for observations [N, O] and pictures [N, C, H, W] by name.

        Raises:
            InputError: the policy was made for other observations.
        """
        rows, size = self._input.shape
        if isinstance(size, int) and size != told.shape[1]:
            raise InputError(f"policy wants {size} numbers, this task tells {told.shape[1]}: {self._path}")
        given = {self._input.name: told}
        for wanted in self._pictures:
            shown = pictures.get(wanted.name)
            if shown is None or list(shown.shape[1:]) != list(wanted.shape[1:]):
                found = "none" if shown is None else f"pictures of {list(shown.shape[1:])}"
                raise InputError(
                    f"policy wants pictures '{wanted.name}' of {list(wanted.shape[1:])}, this task shows {found}: "
                    f"{self._path}"
                )
            given[wanted.name] = shown
        given = {name: np.ascontiguousarray(array, np.float32) for name, array in given.items()}
        # Isaac Lab exports networks for one robot at a time.
        parts = len(told) // rows if isinstance(rows, int) else 1
        batches = [
            dict(zip(given, arrays, strict=True))
            for arrays in zip(*(np.split(a, parts) for a in given.values()), strict=True)
        ]
        return np.concatenate([self._session.run([self._output.name], batch)[0] for batch in batches])

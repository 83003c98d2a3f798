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
        path: one input [1, O] or [N, O], one output [.., A], float32.

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
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 2:
            raise InputError(
                f"has {len(inputs)} inputs and {len(outputs)} outputs; expected a table in and a table out: {path}"
            )
        self._input, self._output = inputs[0], outputs[0]

    def actions(self, told: np.ndarray) -> np.ndarray:
        """[N, A] actions for observations [N, O].

        Raises:
            InputError: the policy was made for another number of observations.
        """
        rows, size = self._input.shape
        if isinstance(size, int) and size != told.shape[1]:
            raise InputError(f"policy wants {size} numbers, this task tells {told.shape[1]}: {self._path}")
        told = np.ascontiguousarray(told, np.float32)
        # Isaac Lab exports networks for one robot at a time.
        batches = [told] if not isinstance(rows, int) else np.split(told, len(told) // rows)
        return np.concatenate(
            [self._session.run([self._output.name], {self._input.name: batch})[0] for batch in batches]
        )

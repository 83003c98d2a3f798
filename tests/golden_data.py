"""Recorded outputs of the Lyra 2.0 reference; see golden/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "golden"


def load_golden(name: str) -> tuple[dict[str, np.ndarray], dict]:
    """Tensors and description of one recording."""
    from safetensors.numpy import load_file

    return load_file(GOLDEN / f"{name}.safetensors"), json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))

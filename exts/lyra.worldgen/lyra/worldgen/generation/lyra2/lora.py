"""Adapters (LoRA files) folded into the network's weights, tensor by tensor (our notes on Lyra 2.0, 1.6).

An adapter is opened once: every key is understood and held against the network before anything changes. Folding is a
function of one tensor, so it works while a model is being loaded, in whatever order and wherever its tensors go; it has
to happen before layers are hooked to offload them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.optional import require
from .checkpoint import FLOATS, Checkpoint, bad
from .checkpoint_keys import Shapes
from .checkpoint_reader import open_checkpoint

log = logging.getLogger(__name__)

SMALL_RANGE = 0.016
"""Whole-tensor changes (`.diff`, `.diff_b`) whose magnitudes span less are left out, as upstream's loader does."""
_WRAPPERS = ("diffusion_model.", "net.")
_UNDERSCORED = "lora_unet_"
_ROLES = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".alpha": "alpha",
    ".diff_b": "diff_b",
    ".diff": "diff",
}


@dataclass(frozen=True, kw_only=True)
class AdapterFile:
    """An adapter as a setting names it."""

    path: Path
    factor: float = 1.0
    """How much of it is folded in; negative takes it out."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An opened adapter; its tensors are read when they are needed."""

    name: str
    factor: float
    changes: Mapping[str, Mapping[str, str]]
    """Keys in the file by role (down, up, alpha, diff, diff_b), by name of the parameter that they change."""
    file: Checkpoint = field(repr=False)
    dropped: tuple[str, ...] = ()
    """Keys that were left out since they change next to nothing."""

    def change_of(self, parameter: str) -> Any:
        """What is added to one parameter, float32, factor included; None if nothing.

        Raises:
            InputError: the file's numbers are damaged or not finite.
        """
        keys = self.changes.get(parameter)
        if keys is None:
            return None
        read = {role: self.file.read(key).float() for role, key in keys.items()}
        for role, tensor in read.items():
            if not bool(tensor.isfinite().all()):
                raise bad(keys[role], "holds NaN or infinite values", self.file.path)
        total = None
        if "down" in read:
            rank = read["down"].shape[0]
            scale = float(read["alpha"]) / rank if "alpha" in read else 1.0
            total = (read["up"].flatten(1) @ read["down"].flatten(1)) * (scale * self.factor)
        for role in ("diff", "diff_b"):
            if role in read:
                part = read[role] * self.factor
                total = part if total is None else total + part
        return total


def open_adapter(source: AdapterFile, shapes: Shapes) -> Adapter:
    """Open an adapter and hold it against a network.

    Args:
        source: file and factor.
        shapes: shape of each of the network's parameters.

    Raises:
        InputError: a key is unknown, has the wrong shape or type, or lacks its other half; it is named. Or the factor
            is not finite.
    """
    if not math.isfinite(source.factor):
        raise InputError(f"the factor of an adapter is {source.factor}; expected a number: {source.path}")
    if source.path.suffix != ".safetensors":
        raise InputError(f"an adapter is no .safetensors file; expected one: {source.path}")
    file = open_checkpoint(source.path)
    underscored = {name.removesuffix(".weight").replace(".", "_"): name for name in shapes if name.endswith(".weight")}
    changes: dict[str, dict[str, str]] = {}
    for key, info in file.tensors.items():
        if info.dtype not in FLOATS:
            raise bad(key, f"has the number type {info.dtype}, expected one of {', '.join(FLOATS)}", source.path)
        module, role = _understand(key, source.path)
        if module.startswith(_UNDERSCORED):
            module = underscored.get(module.removeprefix(_UNDERSCORED), module).removesuffix(".weight")
        parameter = f"{module}.{'bias' if role == 'diff_b' else 'weight'}"
        if parameter not in shapes:
            raise InputError(
                f"the adapter changes '{key[:200]}', but the network has no '{parameter[:200]}'; expected an "
                f"adapter of Lyra 2.0 or Wan 2.1: {source.path}"
            )
        roles = changes.setdefault(parameter, {})
        if role in roles:
            raise bad(key, f"is there twice, also as '{roles[role][:200]}'", source.path)
        roles[role] = key
    dropped = []
    for parameter, roles in list(changes.items()):
        _expect_shapes(parameter, roles, file, shapes[parameter], source.path)
        for role in ("diff", "diff_b"):
            if role in roles and _range(file.read(roles[role])) < SMALL_RANGE:
                dropped.append(roles.pop(role))
        if not roles:
            del changes[parameter]
    if dropped:
        log.debug("%s: %d whole-tensor changes are too small to matter", source.path.name, len(dropped))
    return Adapter(
        name=source.path.stem, factor=source.factor, changes=changes, file=file, dropped=tuple(sorted(dropped))
    )


def folded(parameter: str, tensor: Any, adapters: Sequence[Adapter]) -> Any:
    """One parameter with what the adapters add; the same tensor where they add nothing.

    The sum is made in float32 and rounded once, to the tensor's own number type and on its own device.
    """
    total = None
    for adapter in adapters:
        change = adapter.change_of(parameter)
        if change is not None:
            total = change if total is None else total + change
    if total is None:
        return tensor
    return (tensor.float() + total.reshape(tensor.shape).to(tensor.device)).to(tensor.dtype)


def fold_into(model: Any, adapters: Sequence[Adapter]) -> int:
    """Fold adapters into a loaded model in place, one tensor at a time; returns how many tensors changed.

    Raises:
        InputError: a parameter is not in memory, since layers are offloaded already or were never loaded.
    """
    torch = require("torch", extra="models")
    wanted = {parameter for adapter in adapters for parameter in adapter.changes}
    parameters = {name: tensor for name, tensor in model.named_parameters() if name in wanted}
    absent = sorted(wanted - parameters.keys()) + [name for name, t in parameters.items() if t.is_meta]
    if absent:
        raise InputError(
            f"'{absent[0]}' of the network is not in memory; fold adapters in before layers are offloaded, or while "
            "loading (`folded`)"
        )
    with torch.no_grad():
        for name, tensor in parameters.items():
            tensor.copy_(folded(name, tensor, adapters))
    return len(parameters)


def _understand(key: str, path: Path) -> tuple[str, str]:
    """Module and role of a key."""
    bare, stripped = key, True
    while stripped:
        stripped = False
        for wrapper in _WRAPPERS:
            if bare.startswith(wrapper):
                bare, stripped = bare[len(wrapper) :], True
    for ending, role in _ROLES.items():
        if bare.endswith(ending):
            return bare.removesuffix(ending), role
    raise InputError(
        f"the adapter has the unknown key '{key[:200]}'; expected keys that end in {', '.join(_ROLES)}: {path}"
    )


def _expect_shapes(
    parameter: str, roles: Mapping[str, str], file: Checkpoint, shape: tuple[int, ...], path: Path
) -> None:
    """Raise `InputError` unless the parts of a change fit one another and the parameter."""
    if ("down" in roles) != ("up" in roles) or ("alpha" in roles and "down" not in roles):
        only = next(iter(roles.values()))
        raise bad(only, f"lacks its other half (lora_A and lora_B, or lora_down and lora_up) for {parameter}", path)
    for role, key in roles.items():
        found = file.tensors[key].shape
        if role == "alpha":
            fits, expected = math.prod(found) == 1, "one number"
        elif role in ("diff", "diff_b"):
            fits, expected = found == shape, f"{shape}"
        else:
            rank = file.tensors[roles["down"]].shape[0] if file.tensors[roles["down"]].shape else 0
            rows = len(shape) == 2 and len(found) >= 2 and math.prod(found[2:]) == 1
            expected = (rank, shape[-1]) if role == "down" else (shape[0], rank)
            fits = rows and rank > 0 and found[:2] == expected
        if not fits:
            raise bad(key, f"has shape {found}, expected {expected} for {parameter} of shape {shape}", path)


def _range(tensor: Any) -> float:
    """Between the least and the largest magnitude."""
    return float(tensor.abs().max() - tensor.abs().min()) if tensor.numel() else 0.0

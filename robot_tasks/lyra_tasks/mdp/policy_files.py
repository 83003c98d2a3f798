"""Walking policies from files: TorchScript, or a checkpoint of rsl_rl made into it."""

from __future__ import annotations

import hashlib
import io
import os

import torch

from lyra.worldgen.core.errors import InputError

from ..cache import cache_folder

PREFIXES = (("actor_state_dict", "mlp."), ("model_state_dict", "actor."))
"""Where checkpoints keep the layers of the actor, newest first."""


def scripted(path: str, data: bytes) -> str:
    """A path of a TorchScript policy: the same one, or of a file beside the embedded robots made of a checkpoint.

    Args:
        path: of the file, for messages.
        data: what it holds.

    Raises:
        InputError: it is neither, or the actor is no plain network.
    """
    try:
        torch.jit.load(io.BytesIO(data))
        return path
    except RuntimeError:
        pass
    kept = cache_folder() / f"policy_{hashlib.sha256(data).hexdigest()[:16]}.pt"
    if not kept.is_file():
        network = torch.jit.script(_actor(path, data))
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f".{kept.stem}.{os.getpid()}.pt")
        network.save(str(partial))
        os.replace(partial, kept)
    return str(kept)


def _actor(path: str, data: bytes) -> torch.nn.Sequential:
    """The layers of an actor: linear ones with ELU between them, as Isaac Lab trains them."""
    try:
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever torch finds wrong with a foreign file.
        raise InputError(f"is neither TorchScript nor a checkpoint ({str(error).splitlines()[0]}): {path}") from error
    for group, prefix in PREFIXES:
        weights = checkpoint.get(group) if isinstance(checkpoint, dict) else None
        if not isinstance(weights, dict):
            continue
        if any("normalizer" in name and "critic" not in name for name in weights):
            raise InputError(f"walking policy normalises what it is told; export it as TorchScript: {path}")
        numbers = sorted({int(n[len(prefix) :].split(".")[0]) for n in weights if n.startswith(prefix)})
        layers: list[torch.nn.Module] = []
        for number in numbers:
            weight, bias = weights[f"{prefix}{number}.weight"], weights[f"{prefix}{number}.bias"]
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": bias})
            layers += [layer, torch.nn.ELU()]
        if layers:
            return torch.nn.Sequential(*layers[:-1]).eval()
    raise InputError(f"holds no actor of rsl_rl: {path}")

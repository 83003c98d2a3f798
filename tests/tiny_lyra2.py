"""The tiny network that the recordings of the Lyra 2.0 reference were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from golden_data import load_golden

if TYPE_CHECKING:
    import torch

TINY_LAYOUT = "f1k1f1s2f1s1f4k4f2k2f1k1_g4"
TINY = {
    "layout": TINY_LAYOUT,
    "width": 64,
    "layers": 2,
    "heads": 2,
    "ffn_width": 128,
    "text_width": 32,
    "image_width": 32,
    "squeeze_width": 16,
}


def recorded_model() -> Any:
    """The network with its recorded weights, in float32."""
    from lyra.worldgen.generation.lyra2.transformer import Lyra2Transformer3DModel

    model = Lyra2Transformer3DModel(**TINY)
    weights = {name: x for name, x in golden_tensors("dit_tiny_weights").items() if not name.startswith("accum_")}
    model.load_state_dict(weights)
    return model.eval()


def golden_tensors(name: str) -> dict[str, torch.Tensor]:
    """A recording as tensors."""
    import torch

    return {key: torch.from_numpy(x) for key, x in load_golden(name)[0].items()}


def structural_validity() -> torch.Tensor:
    """[14] bool: positions of the tiny layout that carry correspondence."""
    import torch

    from lyra.worldgen.generation.context_layout import ContextLayout

    layout = ContextLayout.parse(TINY_LAYOUT)
    valid = torch.zeros(layout.total_latents, dtype=torch.bool)
    valid[layout.spatial_positions] = True
    valid[layout.context_latents :] = True
    return valid


def recorded_inputs(case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Arguments of the network's forward from a recording `dit_case_*`."""
    return {
        "latents": case["in_x"],
        "cond": case["in_y"],
        "buffer": case["in_buffer"],
        "buffer_valid": structural_validity(),
        "timestep": case["in_timestep"][0],
        "text": case["in_text"],
        "image": case["in_clip"],
    }

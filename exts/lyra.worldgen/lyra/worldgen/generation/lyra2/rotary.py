"""Rotary positions of a context layout (our notes 3.3).

Time counts positions of the layout, not seconds; rows and columns count base patches. A token that joins several base
patches turns by the average of their angles.
"""

from __future__ import annotations

import torch  # noqa: TID253 - tensors from end to end; the network imports it, nobody else

from ..context_layout import ContextLayout
from .token_grid import PATCH, TokenGrid, averaged, token_grids

BASE = 10000.0


def axis_sizes(head_width: int) -> tuple[int, int, int]:
    """Channels of a head that turn with time, row and column: 44, 42 and 42 of 128."""
    side = 2 * (head_width // 6)
    return head_width - 2 * side, side, side


def rotary_angles(
    layout: ContextLayout, h: int, w: int, *, head_width: int, device: torch.device | str | None = None
) -> torch.Tensor:
    """Angle of every token and pair of channels [rad], float32 [L, head_width / 2].

    Args:
        layout: what the context holds.
        h, w: size of a latent, even.
        head_width: channels of an attention head, even.
        device: where the result lies.

    Raises:
        InputError: `h` or `w` is odd.
    """
    parts = [segment_angles(grid, h // PATCH, w // PATCH, head_width, device) for grid in token_grids(layout, h, w)]
    return torch.cat(parts)


def segment_angles(
    grid: TokenGrid, rows: int, columns: int, head_width: int, device: torch.device | str | None = None
) -> torch.Tensor:
    """Angles [L, head_width / 2] of one segment whose latents have `rows` x `columns` base patches."""
    count = grid.stop - grid.start
    spans = ((grid.start, count), (0, rows), (0, columns))
    axes = []
    for i, ((first, n), channels) in enumerate(zip(spans, axis_sizes(head_width), strict=True)):
        at = torch.arange(first, first + n, dtype=torch.float32, device=device)
        power = torch.arange(0, channels, 2, dtype=torch.float32, device=device) / channels
        angles = at[:, None] * (1 / BASE**power)
        shape = [1, 1, 1, channels // 2]
        shape[i] = n
        axes.append(angles.reshape(shape).expand(count, rows, columns, -1))
    return averaged(torch.cat(axes, -1).movedim(-1, 0), grid.kernel).movedim(0, -1).flatten(0, 2)

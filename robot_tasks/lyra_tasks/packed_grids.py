"""Grids of different sizes in one flat tensor, looked up for many positions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch  # noqa: TID253 this module is about tensors


class PackedGrids:
    """Scalar fields on grids, several of which may share a geometry; positions are in the frame of each grid's world.

    Args:
        grids: float arrays [F, rows, cols], one stack of fields a geometry.
        cell_m: cell size of each.
        origin_xy_m: position of the centre of cell [0, 0] of each, [K, 2].
        device: of the tensors.
    """

    def __init__(
        self, grids: Sequence[np.ndarray], cell_m: Sequence[float], origin_xy_m: np.ndarray, *, device: str
    ) -> None:
        assert all(min(g.shape[1:]) >= 2 for g in grids), "interpolation needs two cells each way"
        sizes = np.array([g.size for g in grids])
        self.values = torch.tensor(np.concatenate([g.ravel() for g in grids]), dtype=torch.float32, device=device)
        self.shape = torch.tensor(np.array([g.shape[1:] for g in grids]), dtype=torch.long, device=device)
        self.base = torch.tensor(np.cumsum(sizes) - sizes, dtype=torch.long, device=device)
        self.per_m = 1.0 / torch.tensor(np.array(cell_m), dtype=torch.float32, device=device)
        self.origin_xy_m = torch.tensor(np.asarray(origin_xy_m), dtype=torch.float32, device=device).reshape(-1, 2)

    def at(self, which: torch.Tensor, xy_m: torch.Tensor, field: torch.Tensor | None = None) -> torch.Tensor:
        """Values [N] of grid `which` [N], field `field` [N] or the first, at positions [N, 2]; see `ChosenGrids.at`."""
        return self.chosen(which).at(xy_m, field)

    def chosen(self, which: torch.Tensor) -> ChosenGrids:
        """Look-ups for rows whose grids `which` [N] stay the same: what depends on the grid alone is gathered once."""
        return ChosenGrids(self, which)


class ChosenGrids:
    """One grid a row, see `PackedGrids.chosen`."""

    def __init__(self, grids: PackedGrids, which: torch.Tensor) -> None:
        self._values = grids.values
        rows, cols = grids.shape[which].unbind(-1)
        self._per_m = grids.per_m[which].unsqueeze(-1)
        self._shift = -grids.origin_xy_m[which] * self._per_m
        self._most = torch.stack([cols - 1, rows - 1], -1).to(torch.float32)
        self._last = torch.stack([cols - 2, rows - 2], -1)
        self._stride = torch.stack([torch.ones_like(cols), cols], -1)
        self._field = rows * cols
        # The four cells around a position, those of the lower row first.
        around = torch.stack([torch.zeros_like(cols), torch.ones_like(cols), cols, cols + 1], -1)
        self._around = grids.base[which].unsqueeze(-1) + around

    def at(self, xy_m: torch.Tensor, field: torch.Tensor | None = None) -> torch.Tensor:
        """Bilinear values [..., N] at positions [..., N, 2], of field `field` [N] or the first.

        Beyond the outermost cells' centres a grid goes on with its border's values.
        """
        cell = torch.minimum(torch.addcmul(self._shift, xy_m, self._per_m).clamp_(min=0.0), self._most)
        low = torch.minimum(cell.long(), self._last)
        part = cell - low
        first = (low * self._stride).sum(-1, keepdim=True)
        if field is not None:
            first += (field * self._field).unsqueeze(-1)
        values = self._values[first + self._around]
        rows = torch.lerp(values[..., 0::2], values[..., 1::2], part[..., :1])
        return torch.lerp(rows[..., 0], rows[..., 1], part[..., 1])

"""The painter `inpaint`: any diffusers inpainting pipeline fills the holes, frame by frame and tile by tile.

It paints no ring; what one frame shows is remembered by the cache and conditions the next. Only holes are changed: the
model sees their surroundings, and what it returns for known pixels is thrown away.
"""

from __future__ import annotations

import numpy as np

from ..core.arrays import expect_shape
from ..core.config import InpaintConfig, ModelsConfig, WorldConfig
from ..core.errors import ConfigError
from ..core.progress import SILENT, SupportsProgress
from ..core.views import Photo, PhotoGeometry
from .inpaint_pipeline import InpaintPipeline, plan_pipeline
from .inpaint_tiles import joined, mask_in_cells, model_size, next_tile, resized, smooth_fill, tile_boxes
from .painter import PaintHint, RingPanorama
from .seeds import derived_seed


class InpaintPainter:
    """Paints with foreign weights; `Painter` protocol.

    Args:
        models: which weights, and how they are held.
        inpaint: how the pipeline is asked.

    Raises:
        ConfigError: no weights named, weights that may not be fetched, or settings that leave no denoising step.
        InputError: the weights are no inpainting pipeline, or incomplete.
        DependencyError: a package is missing.
        BackendError: the weights are damaged, do not load or do not fit into memory.
    """

    name = "inpaint"

    def __init__(self, models: ModelsConfig, inpaint: InpaintConfig) -> None:
        _expect_steps(inpaint)
        self._pipeline = InpaintPipeline(models, inpaint)
        self.model = self._pipeline.weights.name
        self.weights_licence = self._pipeline.weights.licence()
        cell = self._pipeline.multiple_px
        self._side_px = max(cell, inpaint.tile_px // cell * cell) if inpaint.tile_px else self._pipeline.side_px

    @classmethod
    def from_config(cls, config: WorldConfig) -> InpaintPainter:
        """Load the weights that `models.painter` names."""
        return cls(config.models, config.inpaint)

    def prepare(
        self,
        photo: Photo,
        geometry: PhotoGeometry,
        *,
        seed: int,
        progress: SupportsProgress = SILENT,
        ring: RingPanorama | None = None,
    ) -> None:
        """No ring: such models know flat pictures."""

    def paint(self, hint: PaintHint, *, seed: int) -> np.ndarray:
        """Complete frames [T, H, W, 3] uint8 one by one; known pixels come back bit for bit.

        Raises:
            InputError: shapes disagree.
            BackendError: the model failed; out of memory frees it.
        """
        t, h, w, _ = expect_shape("hint.rgb_u8", hint.rgb_u8, (None, None, None, 3)).shape
        expect_shape("hint.known", hint.known, (t, h, w))
        out = hint.rgb_u8.copy()
        for i in range(t):
            known = hint.known[i].astype(bool)
            if not known.all():
                out[i] = self._paint_frame(hint.rgb_u8[i], known, hint.prompt, (seed, i))
        return out

    def free(self) -> None:
        """Let go of the weights; the painter cannot paint any more."""
        self._pipeline.residency.free()

    def _paint_frame(self, frame: np.ndarray, known: np.ndarray, prompt: str, stream: tuple[int, int]) -> np.ndarray:
        """One frame; each tile sees what is known and what the tiles before it painted."""
        frame, hole = frame.copy(), ~known
        boxes = tile_boxes(hole.shape[0], hole.shape[1], self._side_px)
        while (index := next_tile(boxes, hole)) is not None:
            box = boxes[index]
            frame[box] = self._paint_tile(frame[box], ~hole[box], prompt, derived_seed(*stream, index))
            hole[box] = False
        return frame

    def _paint_tile(self, frame: np.ndarray, known: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        h, w = known.shape
        cell = self._pipeline.multiple_px
        height, width = model_size(h, w, side_px=self._side_px, multiple_px=cell)
        filled = np.clip(smooth_fill(frame, known) + 0.5, 0, 255).astype(np.uint8)
        painted = self._pipeline.complete(
            resized(filled, height, width), mask_in_cells(~known, height, width, cell), prompt=prompt, seed=seed
        )
        return joined(resized(painted, h, w), frame, known)


def check_settings(config: WorldConfig) -> None:
    """Refuse, without loading anything, what the painter could not paint with; raises as `InpaintPainter` does."""
    _expect_steps(config.inpaint)
    plan_pipeline(config.models)


def _expect_steps(inpaint: InpaintConfig) -> None:
    if int(inpaint.steps * inpaint.strength) < 1:
        raise ConfigError(
            f"inpaint.steps, inpaint.strength are {inpaint.steps}, {inpaint.strength}; their product is the number of "
            "denoising steps and has to be at least 1"
        )

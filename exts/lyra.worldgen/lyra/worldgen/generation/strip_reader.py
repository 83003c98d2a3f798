"""A photo's strip that can be read anywhere: gaps filled, content laid nearer or farther than it was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .equirect import Strip


@dataclass(frozen=True, kw_only=True)
class StripReader:
    """The strip with its gaps filled, to be read anywhere."""

    rgb: np.ndarray
    """[R, C, 3] float32 in 0..255, gaps filled."""
    labels: np.ndarray
    """[R, C] uint8 `Label`, gaps filled."""
    real: np.ndarray
    """[R, C] bool: not a filled gap."""
    row: np.ndarray
    """[R, C] row that a pixel was taken from."""
    tan_elevation: np.ndarray
    """[R]."""

    @classmethod
    def of(cls, strip: Strip) -> StripReader:
        rgb, labels, row = extended(strip)
        return cls(
            rgb=rgb.astype(np.float32), labels=labels, real=strip.from_photo, row=row,
            tan_elevation=np.tan(strip.elevation_rad),
        )  # fmt: skip

    def at(self, column: np.ndarray, stretch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Colours [R, N, 3], labels, whether the photo has them, and their row, each [R, N].

        Args:
            column: [N] or [R, N] float strip column that every pixel shows.
            stretch: [N] or [R, N] how many times farther away it is laid.
        """
        import cv2

        rows = len(self.rgb)
        index = np.arange(rows, dtype=float)
        elevation = np.arctan(self.tan_elevation)
        wanted = np.arctan(self.tan_elevation[:, None] * stretch)
        y = np.interp(-wanted, -elevation, index)
        beyond = (wanted > 1.5 * elevation[0] - 0.5 * elevation[1]) | (
            wanted < 1.5 * elevation[-1] - 0.5 * elevation[-2]
        )
        x = np.broadcast_to(column, y.shape)
        rgb = cv2.remap(
            self.rgb, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        r = np.round(y).astype(int)
        c = np.clip(np.round(x).astype(int), 0, self.rgb.shape[1] - 1)
        return np.clip(rgb, 0, 255), self.labels[r, c], self.real[r, c] & ~beyond, self.row[r, c]


def extended(strip: Strip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strip colours, labels and elevation row [R, C] with each column's gaps filled from its nearest photo pixel.

    What lies above or below the photo's edge continues what is seen there: sky over sky, floor under floor. The row
    says where a filled pixel was taken from.
    """
    real = strip.from_photo
    rows, count = real.shape
    row = np.arange(rows)[:, None]
    first, end = strip.sector
    seen = real.any(0)
    top = np.where(seen, real.argmax(0), 0)
    bottom = np.where(seen, rows - 1 - real[::-1].argmax(0), rows - 1)
    source_row = np.clip(row, top[None], bottom[None])
    column = np.clip(np.arange(count), first, end - 1)
    column = np.where(seen, np.arange(count), column)
    source_row = source_row[:, column]
    return strip.rgb[source_row, column[None]], strip.labels[source_row, column[None]], source_row

"""A reader of ROS maps and episode files that knows nothing of our code: the rules of map_server and MobilityGen.

Rules: the picture is read as 8-bit grey; with p = (255 - v) / 255 a pixel is occupied if p > occupied_thresh, free if
p < free_thresh, else unknown; `negate` turns v round. `origin` is the lower left corner of the picture, whose first row
is the highest y. MobilityGen dilates occupied pixels by a disc of `int(radius / resolution)` pixels; what is unknown
stays closed. Robots are put down above z = 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

REQUIRED = {"image", "resolution", "origin", "negate", "occupied_thresh", "free_thresh"}


@dataclass(frozen=True)
class RosMap:
    """Pixels [rows, cols] as in the picture: row 0 at the top."""

    free: np.ndarray
    occupied: np.ndarray
    resolution_m: float
    origin_xy_m: tuple[float, float]

    def pixel(self, x_m: float, y_m: float) -> tuple[int, int]:
        """(row, col) of a position."""
        col = int(np.floor((x_m - self.origin_xy_m[0]) / self.resolution_m))
        up = int(np.floor((y_m - self.origin_xy_m[1]) / self.resolution_m))
        return self.free.shape[0] - 1 - up, col

    def position(self, row: int, col: int) -> tuple[float, float]:
        """Of a pixel's middle."""
        rows = self.free.shape[0]
        x0, y0 = self.origin_xy_m
        return x0 + (col + 0.5) * self.resolution_m, y0 + (rows - row - 0.5) * self.resolution_m

    def dilated_free(self, radius_m: float) -> np.ndarray:
        """[rows, cols] free pixels that remain, by stamping a disc on every occupied one."""
        reach = int(radius_m / self.resolution_m)
        blocked = np.zeros(np.add(self.free.shape, 2 * reach), bool)
        dr, dc = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
        disc = dr**2 + dc**2 <= reach**2
        for row, col in np.argwhere(self.occupied):
            blocked[row : row + 2 * reach + 1, col : col + 2 * reach + 1] |= disc
        rows, cols = self.free.shape
        return self.free & ~blocked[reach : reach + rows, reach : reach + cols]


def read_ros_map(path: Path) -> RosMap:
    """Read `map.yaml` and its picture; asserts that every required key is there and means what readers expect."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert data.keys() >= REQUIRED, f"missing: {REQUIRED - data.keys()}"
    assert data.get("mode", "trinary") == "trinary"
    grey = _grey(path.parent / data["image"]).astype(float)
    p = grey / 255 if data["negate"] else (255 - grey) / 255
    x, y, yaw = data["origin"]
    assert yaw == 0, "MobilityGen ignores the yaw"
    return RosMap(
        free=p < data["free_thresh"],
        occupied=p > data["occupied_thresh"],
        resolution_m=float(data["resolution"]),
        origin_xy_m=(float(x), float(y)),
    )


def _grey(path: Path) -> np.ndarray:
    """[rows, cols] uint8; PGM is read by hand, as the format is defined."""
    if path.suffix != ".pgm":
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    magic, size, most, pixels = path.read_bytes().split(b"\n", 3)
    assert magic == b"P5" and most == b"255"
    cols, rows = (int(n) for n in size.split())
    return np.frombuffer(pixels, np.uint8).reshape(rows, cols)


def read_episodes(path: Path) -> list[dict]:
    """One JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

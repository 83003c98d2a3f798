"""Hypothesis strategies for the records of `core`."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.frames import rigid, rotation_from_quat_wxyz
from lyra.worldgen.core.grid import OccupancyGrid

coordinates_m = st.floats(-50.0, 50.0, allow_nan=False)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """[3, 3] rotations; near-identity and half-turn samples included, where formulas like to break."""
    axis = np.array(draw(st.tuples(*[st.floats(-1.0, 1.0)] * 3)))
    length = np.linalg.norm(axis)
    axis = axis / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])
    angle = draw(st.one_of(st.floats(-np.pi, np.pi), st.sampled_from([0.0, 1e-9, 1e-5, np.pi, np.pi - 1e-7])))
    return rotation_from_quat_wxyz(np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)]))


@st.composite
def rigid_transforms(draw: st.DrawFn) -> np.ndarray:
    """[4, 4]."""
    return rigid(draw(rotations()), np.array(draw(st.tuples(*[coordinates_m] * 3))))


@st.composite
def cameras(draw: st.DrawFn) -> PinholeCamera:
    """Pinhole cameras with square pixels and an off-centre principal point."""
    width, height = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    camera = PinholeCamera.from_hfov(width, height, draw(st.floats(0.2, 2.8)))
    return PinholeCamera(
        width_px=width,
        height_px=height,
        fx_px=camera.fx_px,
        fy_px=camera.fx_px * draw(st.floats(0.8, 1.25)),
        cx_px=camera.cx_px + draw(st.floats(-3.0, 3.0)),
        cy_px=camera.cy_px + draw(st.floats(-3.0, 3.0)),
    )


@st.composite
def grids(draw: st.DrawFn) -> OccupancyGrid:
    """Small occupancy grids with random cells."""
    rows, cols = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    cells = draw(st.lists(st.integers(0, 2), min_size=rows * cols, max_size=rows * cols))
    return OccupancyGrid(
        cells=np.array(cells, np.uint8).reshape(rows, cols),
        cell_m=draw(st.floats(0.02, 0.5)),
        origin_xy_m=(draw(coordinates_m), draw(coordinates_m)),
    )

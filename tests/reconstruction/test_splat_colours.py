"""Colours are fitted to the photo only as far as the photo shows the splat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lyra.worldgen.core.sh import SH_C0
from lyra.worldgen.reconstruction.splat_colours import LARGEST_FIT, fit_colours

for _package in ("numba", "embreex", "cv2", "scipy", "xatlas"):
    pytest.importorskip(_package)


def test_what_hardly_shows_keeps_its_colour(world, lifted):
    """A splat that the photo's own splats hide is not used to correct them, and no colour goes far."""
    photo = world.views[0]
    eye = photo.T_world_cam[:3, 3]
    own = np.flatnonzero(lifted.view == 0)
    behind = lifted.splats.take(own[:: max(1, len(own) // 500)])
    behind = replace(behind, means=(eye + 1.5 * (behind.means - eye)).astype(np.float32))
    both = replace(lifted.with_more(behind), view=np.r_[lifted.view, np.zeros(len(behind), np.int32)])
    change = np.abs(fit_colours(both, photo, 0).splats.sh - both.splats.sh)[:, 0].max(1) * SH_C0
    # A few at the rim of the picture are not hidden.
    assert np.quantile(change[-len(behind) :], 0.95) < 0.02 < np.quantile(change[own], 0.9)
    assert change.max() <= LARGEST_FIT + 1e-6

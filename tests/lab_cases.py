"""What the robots of world 0 do, for `drive_worker.py` and for the tests that judge it."""

import math

BACKENDS = ("ovphysx", "newton_mjwarp")
"""Physics engines that every test of Isaac Lab runs on."""
CASES = {
    # World 0 is 10 x 8 m, x from -4 to 6, y from -3.5 to 4.5, a chest at x 3.0 to 4.2, y -1.0 to 0.4.
    "straight": ((-3.0, -1.5, 0.0), (0.8, 0.0)),
    "spin": ((0.0, 0.0, 0.0), (0.0, 0.5)),
    "wall_east": ((3.5, 2.0, 0.0), (1.0, 0.0)),
    "wall_south": ((-2.5, -1.0, -math.pi / 2), (1.0, 0.0)),
    "chest": ((1.0, -0.3, 0.0), (1.0, 0.0)),
    "oblique": ((4.0, 2.0, 0.6), (1.0, 0.0)),
    "reverse": ((2.0, 3.0, 0.0), (-1.0, 0.0)),
    "idle": ((-3.6, 4.1, 1.0), (0.0, 0.0)),
}
"""Pose and action of the robots of world 0; all others stand still, then drive ahead."""
OMNI_CASES = {
    "straight": ((-3.0, -1.5, 0.0), (0.8, 0.0, 0.0)),
    "left": ((-3.0, -2.0, 0.0), (0.0, 0.8, 0.0)),
    "spin": ((0.0, 1.5, 0.0), (0.0, 0.0, 0.5)),
    "slanted": ((-2.0, -2.5, 0.3), (0.4, 0.4, 0.0)),
    "circle": ((1.0, 3.0, 0.0), (0.0, -0.3, 0.3)),
    "wall_east": ((4.8, 2.0, 0.0), (1.0, 0.0, 0.0)),
    "wall_sideways": ((4.8, 3.0, math.pi / 2), (0.0, -1.0, 0.0)),
    "chest": ((1.9, -0.3, math.pi / 2), (0.0, -1.0, 0.0)),
}
"""The same of robots that strafe: forward, left, turn rate."""
ROBOT_CASES = {"diff_drive": CASES, "omni": OMNI_CASES}

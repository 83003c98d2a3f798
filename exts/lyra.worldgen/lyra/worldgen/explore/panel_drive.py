"""The tab of the robot and the ruler: drive through the free space, measure, and set the world's true size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import InputError
from .controls import Controls
from .desk import Desk
from .measure import floor_at, surface_at
from .panel_world import WorldPanel
from .stage import Stage, robot_eye

STEP_M, TURN_RAD = 0.25, np.radians(15)
MOVES = ("left", "ahead", "back", "right")
KEYS = {"ahead": "I", "left": "J", "back": "K", "right": "L"}
"""Those that move the camera are W, A, S, D, Q, E and the arrows."""


class DrivePanel:
    """Widgets and what they do."""

    def __init__(self, controls: Controls, desk: Desk, stage: Stage, world: WorldPanel) -> None:
        self._controls, self._desk, self._stage, self._world = controls, desk, stage, world
        gui = controls.server.gui
        self._text = gui.add_markdown("")
        self._place = gui.add_button("Place the robot where it fits")
        self._click = gui.add_checkbox("click on the floor places it", False)
        self._moves = gui.add_button_group("drive", MOVES)
        self._follow = gui.add_checkbox("look through its eyes", False)
        controls.on_click(self._place, lambda event: self._placed(None, event))
        controls.point_while(self._click, self._place_at)
        controls.on_click(self._moves, lambda event: self._drive(str(event.target.value), event))
        for move, key in KEYS.items():
            command = gui.add_command(f"Drive the robot: {move}", hotkey=key)
            command.on_trigger(lambda event, move=move: controls.attempt(lambda: self._drive(move, event), event))
        with gui.add_folder("Measure"):
            self._measured = gui.add_markdown("")
            self._ruler = gui.add_checkbox("click on two places", False)
            self._length = gui.add_text(
                "is in reality", "", hint="2.05m, 80in, 2.05+-0.02m; metres if there is no unit"
            )
            self._rescale = gui.add_button("Give the world this size")
        controls.point_while(self._ruler, self._measure_at)
        controls.on_click(self._rescale, lambda event: self._scale())

    def refresh(self) -> None:
        """Show robot and ruler as they are."""
        contents, robot = self._desk.contents, self._desk.robot
        floor_z_m = contents.floor_z_m if contents is not None else 0.0
        self._stage.draw_robot(robot, floor_z_m)
        state = robot.state if robot is not None else None
        if state is None:
            self._text.content = f"Keys {', '.join(KEYS.values())} drive: {', '.join(KEYS)}."
        else:
            stop = " **Something is in the way.**" if state.blocked else ""
            heading = np.degrees(state.heading_rad)
            self._text.content = (
                f"at ({state.xy_m[0]:.2f}, {state.xy_m[1]:.2f}) m, {heading:.0f}°, "
                f"{state.clearance_m:.2f} m clear.{stop}"
            )
        self._stage.draw_ruler(self._desk.ruler)
        length_m = self._desk.ruler.length_m
        self._measured.content = (
            "Point at two places whose distance you know."
            if length_m is None
            else f"**{length_m:.3f} m** in this world"
        )

    def _placed(self, xy_m: tuple[float, float] | None, event: Any = None) -> None:
        self._desk.place_robot(xy_m)
        self._moved(event)

    def _drive(self, move: str, event: Any) -> None:
        robot = self._desk.robot or self._desk.place_robot()
        if move in ("left", "right"):
            robot.turn(TURN_RAD if move == "left" else -TURN_RAD)
        else:
            robot.go(STEP_M if move == "ahead" else -STEP_M)
        self._moved(event)

    def _moved(self, event: Any) -> None:
        self.refresh()
        contents, robot = self._desk.contents, self._desk.robot
        if self._follow.value and contents is not None and robot is not None:
            T_world_cam = robot_eye(robot, contents.floor_z_m)
            client = getattr(event, "client", None)
            if T_world_cam is not None:
                self._stage.look(T_world_cam, [client] if client is not None else None)

    def _place_at(self, origin_world: np.ndarray, direction_world: np.ndarray) -> None:
        contents = self._desk.contents
        if contents is None:
            raise InputError("there is no world yet; upload a photo first")
        x, y = floor_at(origin_world, direction_world, contents.floor_z_m)
        self._placed((float(x), float(y)))

    def _measure_at(self, origin_world: np.ndarray, direction_world: np.ndarray) -> None:
        contents = self._desk.contents
        if contents is None:
            raise InputError("there is no world yet; upload a photo first")
        point = surface_at(contents.raycaster, origin_world, direction_world)
        self._desk.ruler = self._desk.ruler.with_end(point)
        self.refresh()

    def _scale(self) -> None:
        self._desk.rescale(self._length.value, until=self._world.until)
        self.refresh()

"""The tab of the camera path: author it, look along it, save it, and generate along it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import InputError
from ..faces.camera_path import PREVIEWED, preset_keys
from ..generation.paths import path_names
from .controls import Controls
from .desk import PATH_FILE, Desk
from .measure import floor_at
from .panel_world import WorldPanel, optional_seed
from .playback import Playback
from .stage import Stage, pose_of

FRAMES_S = 20.0
"""Pace of the preview [frames a second]."""
NONE = "-"


class PathPanel:
    """Widgets and what they do."""

    def __init__(self, controls: Controls, desk: Desk, stage: Stage, world: WorldPanel) -> None:
        self._controls, self._desk, self._stage, self._world = controls, desk, stage, world
        self._recording: Any = None
        gui = controls.server.gui
        self._text = gui.add_markdown("")
        self._add = gui.add_button("Add this camera", hint="the pose that you look from now")
        self._map = gui.add_checkbox("click on the floor adds a place", False)
        self._record = gui.add_checkbox("record my camera", False)
        with gui.add_folder("Presets", expand_by_default=False):
            self._preset = gui.add_dropdown("preset", tuple(sorted(path_names())), initial_value="forward")
            self._help = gui.add_markdown("")
            self._take = gui.add_button("Turn it into key poses")
            self._extend_named = gui.add_button("Generate along the preset")
        with gui.add_folder("Key poses"):
            self._key = gui.add_dropdown("key pose", (NONE,))
            self._move = gui.add_button("Move it to this camera")
            self._order = gui.add_button_group("visit it", ("earlier", "later"))
            self._remove = gui.add_button("Remove it")
            self._clear = gui.add_button("Remove all")
        with gui.add_folder("Preview"):
            self._frame = gui.add_slider("frame", 0, 80, 1, 0)
            self._play = gui.add_button("Look along the path")
            self._playback = Playback(self._play, FRAMES_S)
            self._save = gui.add_button("Save as " + PATH_FILE, hint="for --path FILE --pose-scale 1")
        with gui.add_folder("Generate along the path"):
            self._prompt = gui.add_text("prompt", "", hint="for painters that read text; empty: the world's own")
            self._seed = gui.add_text("seed", "", hint="a number; empty: the world's own")
            self._generate = gui.add_button("Generate along the path", color="green")
            self._on = gui.add_button("Go on with a path that was cut short")
        controls.on_click(self._add, lambda event: self._added(pose_of(controls.camera_of(event))))
        controls.point_while(self._map, self._waypoint)
        controls.on_change(self._record, self._record_camera)
        controls.on_change(self._preset, lambda event: self._describe())
        controls.on_click(self._take, lambda event: self._use_preset())
        controls.on_click(self._extend_named, lambda event: self._extend(self._preset.value))
        controls.on_change(self._key, lambda event: self._draw())
        controls.on_click(self._move, lambda event: self._moved(pose_of(controls.camera_of(event))))
        controls.on_click(self._order, lambda event: self._shift())
        controls.on_click(self._remove, lambda event: self._removed())
        controls.on_click(self._clear, lambda event: self._cleared())
        controls.on_change(self._frame, self._look)
        controls.on_click(self._play, self._run)
        controls.on_click(self._save, self._download)
        controls.on_click(self._generate, lambda event: self._extend(None))
        controls.on_click(self._on, lambda event: self._extend(""))
        self._describe()

    @property
    def previewed_frame(self) -> int:
        """Where the preview stands."""
        return int(self._frame.value)

    def refresh(self) -> None:
        """Show the draft as it is."""
        draft = self._desk.draft
        names = tuple(str(k + 1) for k in range(len(draft.keys))) or (NONE,)
        if self._key.options != names:
            chosen = self._key.value
            self._key.options = names
            self._key.value = chosen if chosen in names else names[-1]
        if draft.keys:
            chunks = draft.chunks
            self._text.content = (
                f"{len(draft.keys)} key poses, {draft.length_m:.1f} m, {chunks} chunk{'s' if chunks > 1 else ''}"
            )
            self._frame.max = max(1, 80 * chunks)
        else:
            self._text.content = "No key pose yet. The path begins where the last one ended."
        self._draw()

    def close(self) -> None:
        self._playback.stop()

    def _chosen(self) -> int:
        if self._key.value == NONE:
            raise InputError("the path has no key pose yet")
        return int(self._key.value) - 1

    def _draw(self) -> None:
        contents = self._desk.contents
        chosen = None if self._key.value == NONE else int(self._key.value) - 1
        self._stage.draw_path(self._desk.draft, contents.viewpoint[0] if contents is not None else None, chosen)

    def _added(self, T_world_cam: np.ndarray) -> None:
        self._desk.draft.add(T_world_cam)
        self._choose(len(self._desk.draft.keys) - 1)

    def _moved(self, T_world_cam: np.ndarray) -> None:
        self._desk.draft.replace(self._chosen(), T_world_cam)
        self.refresh()

    def _removed(self) -> None:
        self._desk.draft.remove(self._chosen())
        self.refresh()

    def _cleared(self) -> None:
        self._desk.draft.clear()
        self.refresh()

    def _shift(self) -> None:
        self._choose(self._desk.draft.shift(self._chosen(), -1 if self._order.value == "earlier" else 1))

    def _choose(self, index: int) -> None:
        self.refresh()
        self._key.value = str(index + 1)
        self._draw()

    def _waypoint(self, origin_world: np.ndarray, direction_world: np.ndarray) -> None:
        contents = self._desk.contents
        floor_z_m = contents.floor_z_m if contents is not None else 0.0
        self._desk.draft.add_waypoint(floor_at(origin_world, direction_world, floor_z_m))
        self._choose(len(self._desk.draft.keys) - 1)

    def _record_camera(self, event: Any) -> None:
        """Keep key poses of one browser's camera while the box is ticked."""
        if not self._record.value:
            self._recording = None
            return
        camera = self._controls.camera_of(event)
        self._recording = event.client_id

        def moved(camera: Any) -> None:
            if self._recording == event.client_id and self._desk.draft.record(pose_of(camera)):
                self.refresh()

        camera.on_update(moved)
        moved(camera)

    def _describe(self) -> None:
        name = self._preset.value
        known = name in PREVIEWED
        self._help.content = path_names()[name] + ("" if known else ". *Decided on the way, so without preview.*")
        self._take.disabled = not known

    def _use_preset(self) -> None:
        contents = self._desk.contents
        if contents is None:
            raise InputError("there is no world yet; upload a photo first")
        draft = self._desk.draft
        begin = draft.keys[-1] if draft.keys else draft.T_world_begin
        for key in preset_keys(self._preset.value, contents.geometry, begin):
            draft.add(key)
        self._choose(len(draft.keys) - 1)

    def _extend(self, path: str | None) -> None:
        prompt, seed = self._prompt.value.strip() or None, optional_seed(self._seed.value)
        until = self._world.until
        if path is None:
            self._desk.extend_along_draft(prompt=prompt, seed=seed, until=until)
        else:
            self._desk.extend(path, prompt=prompt, seed=seed, until=until)

    def _look(self, event: Any) -> None:
        Ts = self._desk.draft.poses()
        self._stage.look(Ts[min(int(self._frame.value), len(Ts) - 1)], [event.client] if event.client else None)

    def _run(self, event: Any) -> None:
        """Move the browser's camera along the path, or stop doing so."""
        Ts, client = self._desk.draft.poses(), event.client

        def show(k: int) -> None:
            self._stage.look(Ts[k], [client] if client is not None else None)
            self._frame.value = k

        self._playback.toggle(0, len(Ts), show)

    def _download(self, event: Any) -> None:
        contents = self._desk.contents
        if contents is None or event.client is None:
            raise InputError("there is no world yet; upload a photo first")
        event.client.send_file_download(
            PATH_FILE, self._desk.draft.trajectory(contents.viewpoint[0]), save_immediately=True
        )

"""Start-up and shutdown inside Kit, and what binds window, controller and stage.

What needs NumPy or pxr is imported when it is asked for, so that starting Kit costs no more for this extension.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import carb
import carb.eventdispatcher
import omni.ext
import omni.kit.app

from ..core.errors import WorldgenError
from .controller import KitState, WorldgenController
from .jobs import open_session
from .settings import read_settings

if TYPE_CHECKING:
    from .camera_path import PathRecorder
    from .task_run import TaskRun
    from .window import WorldgenWindow

MENU = "Tools"
MENU_ITEM = "Lyra World Generator"


class Extension(omni.ext.IExt):
    """Owns the controller, the window, the menu entry and the update subscription."""

    def on_startup(self, ext_id: str) -> None:
        # Every field first: shutdown may follow a start-up that stopped half way.
        self._folder: Path | None = None
        self._window: WorldgenWindow | None = None
        self._menu_items: list | None = None
        self._subscription = None
        self._task: TaskRun | None = None
        self._recording = self._asked_to_load = False
        self._recorder: PathRecorder | None = None
        self._controller = WorldgenController(
            lambda folder: open_session(folder, read_settings().place, near=self._folder),
            on_change=self._on_change,
            on_world=self._on_world,
            on_frame=self._on_frame,
        )
        manager = omni.kit.app.get_app().get_extension_manager()
        self._folder = Path(manager.get_extension_path(ext_id))
        self._subscription = carb.eventdispatcher.get_eventdispatcher().observe_event(
            event_name=omni.kit.app.GLOBAL_EVENT_UPDATE,
            on_event=lambda event: self._on_update(),
            observer_name="lyra.worldgen",
        )
        self._add_menu()
        # After a reload the world that was worked on is there again.
        last = read_settings().last_world
        if last and (Path(last) / "world.json").is_file():
            self._controller.choose(last)

    def on_shutdown(self) -> None:
        self._subscription = None
        self._remove_menu()
        if self._task is not None:
            self._task.stop()
            self._task = None
        if self._window is not None:
            self._window.destroy()
            self._window = None
        self._controller.close()

    @property
    def controller(self) -> WorldgenController:
        """For scripts and tests."""
        return self._controller

    def show_window(self, visible: bool = True) -> None:
        """Open or close the window; it is built on first use. Does nothing in an app without a user interface."""
        if self._window is None and visible:
            try:
                from .window import Deeds, WorldgenWindow
            except ImportError:
                carb.log_warn("lyra.worldgen: no user interface in this app; use the lyra-worldgen command")
                return
            deeds = Deeds(
                load=self._load,
                robot=lambda: self._try(self._put_robot),
                task=lambda: self._try(self._toggle_task),
                overlay=lambda: self._try(self._toggle_overlay),
                add_key=lambda: self._try(self._add_key),
                drop_key=lambda: self._try(self._drop_key),
                record=self._record,
                save_path=lambda: self._try(self._save_path),
            )
            self._window = WorldgenWindow(self._controller, read_settings(), deeds)
        if self._window is not None:
            self._window.show(visible)

    def _on_update(self) -> None:
        self._controller.poll()
        if self._recording:
            self._try(self._record_key)
        task = self._task
        if task is not None:
            self._try(task.update)
            self._say(task.message)
            if task.over:
                self._task = None
                task.stop()

    def _on_change(self, state: KitState) -> None:
        if self._window is not None:
            self._window.draw(state)

    def _on_frame(self, jpeg: bytes) -> None:
        if self._window is not None:
            self._window.show_frame(jpeg)

    def _on_world(self, folder: str) -> None:
        settings = read_settings()
        if settings.load_when_done or self._asked_to_load:
            from .stage import load_world

            path = load_world(folder, settings.prim_path, settings.showing)
            carb.log_info(f"lyra.worldgen: {folder} loaded at {path}")

    def _load(self) -> None:
        self._asked_to_load = True
        try:
            self._controller.load()
        finally:
            self._asked_to_load = False

    def _world(self) -> str:
        folder = self._controller.state.folder
        if folder is None:
            raise WorldgenError("choose a world first, or generate one")
        return folder

    def _put_robot(self) -> None:
        from .task_run import put_robot

        self._say(f"The robot stands at {put_robot(self._world(), self._folder)}.")

    def _toggle_task(self) -> None:
        if self._task is not None:
            self._task.stop()
            self._task = None
            return
        from .task_run import TaskRun

        self._task = TaskRun(self._world(), self._folder)

    def _toggle_overlay(self) -> None:
        from .stage import toggle_overlay

        shown = toggle_overlay(self._world())
        self._say("Free space: blue has most room, red is close to something." if shown else "")

    def _path(self) -> PathRecorder:
        if self._recorder is None:
            from .camera_path import PathRecorder

            self._recorder = PathRecorder()
        return self._recorder

    def _add_key(self) -> None:
        from .stage import viewport_pose

        self._path().add(self._world(), viewport_pose(self._world()))
        self._draw_path()

    def _record_key(self) -> None:
        from .stage import viewport_pose

        if self._path().record(self._world(), viewport_pose(self._world())):
            self._draw_path()

    def _drop_key(self) -> None:
        self._path().drop_last()
        self._draw_path()

    def _record(self, recording: bool) -> None:
        self._recording = recording

    def _save_path(self) -> str:
        from .camera_path import next_file

        folder = self._world()
        file = self._path().save(next_file(folder))
        self._path().clear()
        self._draw_path()
        return str(file)

    def _draw_path(self) -> None:
        from .stage import draw_path

        draw_path(self._world(), self._path().poses())
        self._say(f"{self._path().count} key poses")

    def _try(self, deed: Callable[[], str | None]) -> str | None:
        """Do something of the stage's; what cannot be is a line in the window, never an error in Kit's frame loop."""
        try:
            return deed()
        except (WorldgenError, OSError) as error:
            self._recording = False
            self._say(str(error))
            carb.log_warn(f"lyra.worldgen: {error}")
            return None

    def _say(self, text: str) -> None:
        if self._window is not None and text:
            self._window.say(text)

    def _add_menu(self) -> None:
        try:
            from omni.kit.menu.utils import MenuItemDescription, add_menu_items
        except ImportError:  # headless app
            return
        self._menu_items = [MenuItemDescription(name=MENU_ITEM, onclick_fn=self.show_window)]
        add_menu_items(self._menu_items, MENU)

    def _remove_menu(self) -> None:
        if self._menu_items is not None:
            from omni.kit.menu.utils import remove_menu_items

            remove_menu_items(self._menu_items, MENU)
            self._menu_items = None

"""Start-up and shutdown inside Kit, nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import carb
import carb.eventdispatcher
import omni.ext
import omni.kit.app

from ..session.worker import WorkerJob, find_launcher, work_command, worker_environment
from .controller import JobState, WorldgenController
from .jobs import GenerateRequest, generate_command
from .settings import read_settings
from .stage import load_world

MENU = "Tools"
MENU_ITEM = "Lyra World Generator"


class Extension(omni.ext.IExt):
    """Owns the controller, the window, the menu entry and the update subscription."""

    def on_startup(self, ext_id: str) -> None:
        # Every field first: shutdown may follow a start-up that stopped half way.
        self._folder: Path | None = None
        self._window = None
        self._menu_items: list | None = None
        self._subscription = None
        self._controller = WorldgenController(self._launch, on_change=self._on_change, on_world=self._on_world)
        manager = omni.kit.app.get_app().get_extension_manager()
        self._folder = Path(manager.get_extension_path(ext_id))
        self._subscription = carb.eventdispatcher.get_eventdispatcher().observe_event(
            event_name=omni.kit.app.GLOBAL_EVENT_UPDATE,
            on_event=lambda event: self._controller.poll(),
            observer_name="lyra.worldgen",
        )
        self._add_menu()

    def on_shutdown(self) -> None:
        self._subscription = None
        self._remove_menu()
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
                from .window import WorldgenWindow
            except ImportError:
                carb.log_warn("lyra.worldgen: no user interface in this app; use the lyra-worldgen command")
                return
            self._window = WorldgenWindow(self._controller, read_settings())
        if self._window is not None:
            self._window.show(visible)

    def _launch(self, request: GenerateRequest) -> WorkerJob:
        launcher = find_launcher(read_settings().launcher, self._folder)
        if not launcher:
            raise FileNotFoundError(
                "no lyra-worldgen installation found; run tools/quickstart.sh once, or set "
                "/exts/lyra.worldgen/launcher to its Python"
            )
        arguments = work_command(launcher, Path(request.out))
        return WorkerJob(arguments, generate_command(request), env=worker_environment(os.environ))

    def _on_change(self, state: JobState) -> None:
        if self._window is not None:
            self._window.draw(state)

    def _on_world(self, folder: str) -> None:
        path = load_world(folder, read_settings().prim_path)
        carb.log_info(f"lyra.worldgen: {folder} loaded at {path}")

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

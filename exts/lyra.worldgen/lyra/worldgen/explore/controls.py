"""What the tabs of the explorer have in common: buttons whose errors are told to the user, and clicks into the view."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import InputError, WorldgenError

log = logging.getLogger(__name__)

NOTICE_S = 12.0
Pointed = Callable[[np.ndarray, np.ndarray], None]
"""Takes origin [3] and direction [3] of the ray under a click, in the world."""


class Controls:
    """Joins widgets of a viser server to what they do."""

    def __init__(self, server: Any, refused: Callable[[], None]) -> None:
        """
        Args:
            server: a `viser.ViserServer`.
            refused: called after a user was told that something is not possible.
        """
        self.server = server
        self._refused = refused
        self._pointing: Callable[[Any], None] | None = None
        self._pointers: list[Any] = []

    def on_click(self, button: Any, act: Callable[[Any], None]) -> None:
        """Have a button do something; what goes wrong is told to the user."""
        button.on_click(lambda event: self.attempt(lambda: act(event), event))

    def on_change(self, control: Any, act: Callable[[Any], None]) -> None:
        """The same for a control whose value a user changes; changes by the program are not heard."""

        def changed(event: Any) -> None:
            if event.client_id is not None:
                self.attempt(lambda: act(event), event)

        control.on_update(changed)

    def attempt(self, act: Callable[[], Any], event: Any = None) -> None:
        """Do something; what a user did wrong, or what went wrong, becomes a notification."""
        try:
            act()
        except WorldgenError as error:
            self.tell(str(error), bad=True, client=getattr(event, "client", None))
            self._refused()
        except Exception as error:
            log.exception("the explorer failed")
            self.tell(f"Internal error: {type(error).__name__}: {error}", bad=True)

    def tell(self, text: str, *, bad: bool = False, client: Any = None) -> None:
        """A notification for one browser, or for all."""
        for each in [client] if client is not None else list(self.server.get_clients().values()):
            each.add_notification(
                "Not possible" if bad else "Lyra", text, color="red" if bad else "green", auto_close_seconds=NOTICE_S
            )

    def camera_of(self, event: Any) -> Any:
        """Camera of the browser that an event comes from; raises `InputError` when it has gone."""
        if event.client is None:
            raise InputError("the browser has gone")
        return event.client.camera

    def point_while(self, box: Any, act: Pointed) -> None:
        """Have clicks into the 3D view do something while a checkbox is ticked; ticking it unticks all others."""
        self._pointers.append(box)
        self.on_change(box, lambda event: self._point(box, act))

    def _point(self, box: Any, act: Pointed) -> None:
        if self._pointing is not None:
            self.server.scene.remove_click_callback(self._pointing)
            self._pointing = None
        if not box.value:
            return
        for other in self._pointers:
            if other is not box and other.value:
                other.value = False

        def pointed(event: Any) -> None:
            self.attempt(lambda: act(np.array(event.ray_origin), np.array(event.ray_direction)), event)

        self._pointing = pointed
        self.server.scene.on_click()(pointed)

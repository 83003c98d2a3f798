"""The tab of worlds: choose one, begin one from a photo, read what it is, go on, go back, finish."""

from __future__ import annotations

from ..core.chunks import chunk_stages
from ..core.errors import InputError
from ..core.schema import MAX_SEED
from ..generation.painter import PAINTERS
from .controls import Controls
from .desk import GOALS, Desk
from .readout import certificate_text, world_text


class WorldPanel:
    """Widgets and what they do."""

    def __init__(self, controls: Controls, desk: Desk) -> None:
        self._desk = desk
        gui = controls.server.gui
        self._choice = gui.add_dropdown("world", ("-",), visible=False)
        controls.on_change(self._choice, lambda event: self._open())
        self._text = gui.add_markdown("")
        self.goal = gui.add_dropdown("go on to", tuple(GOALS), hint="how far every step is carried")
        self._finish = gui.add_button(
            "Finish the world", hint="run what it lacks: splats, mesh, colliders, certificate"
        )
        self._undo = gui.add_button("Undo the last chunk")
        controls.on_click(self._finish, lambda event: self._desk.finish())
        controls.on_click(self._undo, lambda event: self._desk.undo(until=self.until))
        with gui.add_folder("Certificate", expand_by_default=False):
            self._certificate = gui.add_markdown("")
        with gui.add_folder("New world from a photo"):
            self._painter = gui.add_dropdown("painter", ("auto", *PAINTERS.names()))
            self._prompt = gui.add_text("prompt", "", hint="for painters that read text")
            self._seed = gui.add_number("seed", self._desk.config.seed, min=0, max=MAX_SEED, step=1)
            self._upload = gui.add_upload_button("Upload a photo", mime_type="image/*")
        self._upload.on_upload(lambda event: controls.attempt(self._begin, event))

    @property
    def until(self) -> str:
        """Last stage of the next step."""
        return GOALS[self.goal.value]

    def refresh(self) -> None:
        """Say what the world at hand is."""
        worlds = [folder.name for folder in self._desk.shelf.worlds()]
        self._choice.visible = self._desk.shelf.many
        if self._desk.shelf.many and worlds:
            self._choice.options = tuple(worlds)
            if self._desk.folder is not None and self._desk.folder.name in worlds:
                self._choice.value = self._desk.folder.name
        contents = self._desk.contents
        self._finish.visible = self._undo.visible = contents is not None
        if contents is None:
            self._text.content = "Upload a photo to begin a world."
            self._certificate.content = ""
            return
        # The first chunk always stays.
        self._undo.disabled = len(chunk_stages(contents.world.manifest.stages)) < 2
        self._text.content = world_text(contents)
        self._certificate.content = certificate_text(contents.certificate)

    def _open(self) -> None:
        folder = self._desk.shelf.folder / self._choice.value
        if folder != self._desk.folder:
            self._desk.open(folder)

    def _begin(self) -> None:
        file = self._upload.value
        self._desk.generate(
            file.content,
            file.name,
            painter=self._painter.value,
            seed=int(self._seed.value),
            prompt=self._prompt.value,
        )


def optional_seed(text: str) -> int | None:
    """Seed that somebody typed; None for nothing. Raises `InputError`."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) > MAX_SEED:
        raise InputError(f"the seed is '{text[:20]}'; expected a whole number from 0 to {MAX_SEED}, or nothing")
    return int(text)

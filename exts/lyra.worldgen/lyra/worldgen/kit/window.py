"""The window: widgets and bindings, no decisions. Main thread only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import omni.ui as ui

from ..core.files import PICTURE_SUFFIXES
from .controller import KitState, WorldgenController
from .file_picker import FilePicker
from .jobs import PAINTERS, QUALITIES, REPRESENTATIONS, ExtendRequest, GenerateRequest, ImportRequest
from .pictures import Pixels, preview_pixels
from .settings import KitSettings, remember
from .window_import import ImportForm, is_scene
from .window_worlds import WorldList

TITLE = "Lyra World Generator"
_LABEL_WIDTH = 110
_PREVIEW_PX = 220


@dataclass(frozen=True, kw_only=True)
class Deeds:
    """What buttons do that is neither the controller's nor the window's: the extension has the stage."""

    load: Callable[[], None]
    robot: Callable[[], None]
    task: Callable[[], None]
    """Begin a task, or end the one that runs."""
    overlay: Callable[[], None]
    add_key: Callable[[], None]
    drop_key: Callable[[], None]
    record: Callable[[bool], None]
    save_path: Callable[[], str | None]
    """Keep the camera path; its file, or None if there is none."""


class WorldgenWindow:
    """Photo, settings, progress with the picture being painted, what can be done to the world, and all worlds."""

    def __init__(self, controller: WorldgenController, settings: KitSettings, deeds: Deeds) -> None:
        """
        Args:
            controller: begins and cancels; its `state` is what is drawn.
            settings: what the form proposes.
            deeds: what the buttons of the stage do.
        """
        self._controller, self._deeds = controller, deeds
        self._picker = FilePicker()
        self._drop = None
        self._recording = False
        self._photo = ui.SimpleStringModel("")
        self._folder = ui.SimpleStringModel(str(Path(settings.output_dir) / "world"))
        self._path = ui.SimpleStringModel("auto")
        self._prompt = ui.SimpleStringModel("")
        self._seed = ui.SimpleIntModel(settings.seed)
        self._camera_height_m = ui.SimpleFloatModel(settings.camera_height_m)
        self._server = ui.SimpleStringModel(settings.place.server)
        self._progress = ui.SimpleFloatModel(0.0)
        self._provider = ui.ByteImageProvider()
        self._window = ui.Window(TITLE, width=560, height=760, visible=True)
        with self._window.frame, ui.ScrollingFrame(), ui.VStack(spacing=6, height=0):
            self._build_form(settings)
            self._build_progress()
            self._build_world(settings)
            self._worlds = WorldList(settings.output_dir, self._open_world)
        self._accept_drops()
        self.draw(controller.state)

    def _build_form(self, settings: KitSettings) -> None:
        with ui.HStack(height=24, spacing=4):
            ui.Label("Photo", width=_LABEL_WIDTH)
            field = ui.StringField(model=self._photo, tooltip="A picture file; drop one here")
            field.set_accept_drop_fn(_is_photo)
            field.set_drop_fn(lambda event: self._photo.set_value(str(event.mime_data)))
            ui.Button("...", width=30, clicked_fn=self._pick_photo)
        with ui.HStack(height=24, spacing=4):
            ui.Label("Output folder", width=_LABEL_WIDTH)
            ui.StringField(model=self._folder)
        with ui.HStack(height=24, spacing=4):
            ui.Label("Path", width=_LABEL_WIDTH)
            ui.StringField(model=self._path, tooltip="auto, turn, forward, explore, spin:turns=1, ... or a .npz file")
            ui.Label("Painter", width=60)
            self._painter = ui.ComboBox(_index(PAINTERS, settings.painter), *PAINTERS)
        with ui.HStack(height=24, spacing=4):
            ui.Label("Prompt", width=_LABEL_WIDTH)
            ui.StringField(model=self._prompt, tooltip="For painters that read text")
            ui.Label("Quality", width=60)
            self._quality = ui.ComboBox(_index(tuple(QUALITIES), settings.quality), *QUALITIES)
        with ui.HStack(height=24, spacing=4):
            ui.Label("Seed", width=_LABEL_WIDTH)
            ui.IntField(model=self._seed)
            ui.Label("Camera height [m]", width=_LABEL_WIDTH)
            ui.FloatField(model=self._camera_height_m)
        with ui.HStack(height=24, spacing=4):
            ui.Label("Server", width=_LABEL_WIDTH)
            ui.StringField(model=self._server, tooltip="Address of lyra-worldgen serve; empty: this machine")
        with ui.HStack(height=30, spacing=4):
            self._begin = [
                ui.Button("Generate", clicked_fn=self._on_generate),
                ui.Button("Seed only", clicked_fn=lambda: self._on_generate(seed_only=True)),
            ]
            self._cancel = ui.Button("Cancel", clicked_fn=self._controller.cancel)
            self._resume = ui.Button("Resume", clicked_fn=self._controller.resume)
        self._import = ImportForm(self._picker, _LABEL_WIDTH, self._on_import)
        self._begin.append(self._import.button)

    def _build_progress(self) -> None:
        ui.ProgressBar(self._progress, height=22)
        self._line = ui.Label("", word_wrap=True, height=0)
        self._preview = ui.Frame(height=_PREVIEW_PX, visible=False)
        with self._preview:
            ui.ImageWithProvider(self._provider)

    def _build_world(self, settings: KitSettings) -> None:
        with ui.HStack(height=28, spacing=4):
            self._begin += [
                ui.Button("Extend", clicked_fn=self._on_extend),
                ui.Button("Undo", clicked_fn=self._controller.undo),
                ui.Button("Finish", clicked_fn=self._controller.finish),
            ]
        with ui.HStack(height=28, spacing=4):
            ui.Label("Show", width=50)
            self._representation = ui.ComboBox(
                _index(REPRESENTATIONS, settings.showing.representation), *REPRESENTATIONS
            )
            ui.Label("Solid", width=40)
            self._physics = ui.SimpleBoolModel(settings.showing.physics)
            ui.CheckBox(model=self._physics, width=24)
            ui.Button("Load", clicked_fn=self._on_load)
            ui.Button("Robot", clicked_fn=self._deeds.robot)
            ui.Button("Task", clicked_fn=self._deeds.task, tooltip="Drive the certified episodes, or stop driving")
            ui.Button("Free space", clicked_fn=self._deeds.overlay)
        with ui.HStack(height=28, spacing=4):
            ui.Label("Camera path", width=_LABEL_WIDTH)
            ui.Button("Add key", clicked_fn=self._deeds.add_key)
            ui.Button("Drop key", clicked_fn=self._deeds.drop_key)
            self._record = ui.Button("Record", clicked_fn=self._on_record)
            ui.Button("Use", clicked_fn=self._on_use_path, tooltip="Keep the path as a file and extend along it")

    @property
    def visible(self) -> bool:
        return self._window is not None and self._window.visible

    def show(self, visible: bool) -> None:
        """Open or close the window."""
        if self._window is not None:
            self._window.visible = visible

    def draw(self, state: KitState) -> None:
        """Show a state."""
        if self._window is None:
            return
        self._progress.set_value(state.fraction)
        self._line.text = state.message
        for button in self._begin:
            button.enabled = not state.busy
        self._cancel.enabled = state.busy
        self._resume.enabled = state.can_resume and not state.busy
        if not state.busy:
            self._worlds.refresh()

    def say(self, text: str) -> None:
        """Show a line of text until the next state."""
        if self._window is not None:
            self._line.text = text

    def show_frame(self, jpeg: bytes) -> None:
        """Show a picture that was just painted."""
        if self._window is not None and (pixels := preview_pixels(jpeg)) is not None:
            self._show_pixels(pixels)

    def destroy(self) -> None:
        """Release every widget; safe to call twice."""
        self._picker.close()
        if self._drop is not None:
            self._drop.destroy()
            self._drop = None
        if self._window is not None:
            self._worlds.destroy()
            self._window.destroy()
            self._window = None

    def _show_pixels(self, pixels: Pixels) -> None:
        self._provider.set_bytes_data(list(pixels.rgba), [pixels.width_px, pixels.height_px])
        self._preview.visible = True

    def _on_generate(self, seed_only: bool = False) -> None:
        self._remember_server()
        folder = self._folder.get_value_as_string()
        request = GenerateRequest(
            photo=self._photo.get_value_as_string(),
            out=folder,
            seed=self._seed.get_value_as_int(),
            camera_height_m=self._camera_height_m.get_value_as_float(),
            path=self._path.get_value_as_string(),
            prompt=self._prompt.get_value_as_string(),
            painter=PAINTERS[_chosen(self._painter)],
            quality=tuple(QUALITIES)[_chosen(self._quality)],
            seed_only=seed_only,
        )
        if self._controller.generate(request):
            remember(output_dir=str(Path(folder).parent), last_world=folder)

    def _on_import(self) -> None:
        self._remember_server()
        folder = self._folder.get_value_as_string()
        request = ImportRequest(
            source=self._import.source,
            out=folder,
            seed=self._seed.get_value_as_int(),
            up=self._import.up,
            units=self._import.units,
            camera_height_m=self._camera_height_m.get_value_as_float(),
            quality=tuple(QUALITIES)[_chosen(self._quality)],
        )
        if self._controller.import_file(request):
            remember(output_dir=str(Path(folder).parent), last_world=folder)

    def _on_extend(self) -> None:
        self._remember_server()
        self._controller.extend(
            ExtendRequest(path=self._path.get_value_as_string(), prompt=self._prompt.get_value_as_string())
        )

    def _on_use_path(self) -> None:
        file = self._deeds.save_path()
        if file is not None:
            self._path.set_value(file)
            self._remember_server()
            self._controller.extend(ExtendRequest(path=file, prompt=self._prompt.get_value_as_string(), pose_scale=1.0))

    def _on_record(self) -> None:
        self._recording = not self._recording
        self._record.text = "Stop" if self._recording else "Record"
        self._deeds.record(self._recording)

    def _on_load(self) -> None:
        remember(
            representation=REPRESENTATIONS[_chosen(self._representation)], physics=self._physics.get_value_as_bool()
        )
        self._deeds.load()

    def _open_world(self, folder: str) -> None:
        if self._controller.choose(folder):
            self._folder.set_value(folder)
            remember(last_world=folder)
            pixels = preview_pixels(Path(folder) / "preview.png")
            if pixels is not None:
                self._show_pixels(pixels)

    def _remember_server(self) -> None:
        remember(server=self._server.get_value_as_string())

    def _accept_drops(self) -> None:
        """Take pictures, scans and meshes that are dropped from outside the application."""
        try:
            from omni.kit.window.drop_support import ExternalDragDrop
        except ImportError:
            return
        self._drop = ExternalDragDrop(window_name=TITLE, drag_drop_fn=self._on_dropped)

    def _on_dropped(self, drop: object, payload: list[str]) -> None:
        photos = [path for path in payload if _is_photo(path)]
        if photos:
            self._photo.set_value(photos[0])
        elif scenes := [path for path in payload if is_scene(path)]:
            self._import.take(scenes[0])

    def _pick_photo(self) -> None:
        def picked(path: str) -> None:
            if _is_photo(path):
                self._photo.set_value(path)

        self._picker.ask("Choose a photo", picked)


def _is_photo(path: str) -> bool:
    return path.lower().endswith(PICTURE_SUFFIXES)


def _index(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else 0


def _chosen(box: ui.ComboBox) -> int:
    return box.model.get_item_value_model().get_value_as_int()

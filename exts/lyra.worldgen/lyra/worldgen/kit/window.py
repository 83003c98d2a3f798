"""The window: widgets and bindings, no decisions. Main thread only."""

from __future__ import annotations

from pathlib import Path

import omni.ui as ui

from .controller import JobState, WorldgenController
from .jobs import GenerateRequest
from .settings import KitSettings, remember_output_dir

TITLE = "Lyra World Generator"
_LABEL_WIDTH = 110
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


class WorldgenWindow:
    """Photo, output folder, Generate, progress, Cancel, one line of log."""

    def __init__(self, controller: WorldgenController, settings: KitSettings) -> None:
        """
        Args:
            controller: starts and cancels; its `state` is what is drawn.
            settings: what the form proposes.
        """
        self._controller = controller
        self._dialog = None
        self._photo = ui.SimpleStringModel("")
        self._folder = ui.SimpleStringModel(str(Path(settings.output_dir) / "world"))
        self._seed = ui.SimpleIntModel(settings.seed)
        self._camera_height_m = ui.SimpleFloatModel(settings.camera_height_m)
        self._progress = ui.SimpleFloatModel(0.0)
        self._window = ui.Window(TITLE, width=520, height=260, visible=True)
        with self._window.frame:
            self._build()
        self.draw(controller.state)

    def _build(self) -> None:
        with ui.VStack(spacing=6):
            with ui.HStack(height=24, spacing=4):
                ui.Label("Photo", width=_LABEL_WIDTH)
                ui.StringField(model=self._photo)
                ui.Button("...", width=30, clicked_fn=self._pick_photo)
            with ui.HStack(height=24, spacing=4):
                ui.Label("Output folder", width=_LABEL_WIDTH)
                ui.StringField(model=self._folder)
            with ui.HStack(height=24, spacing=4):
                ui.Label("Seed", width=_LABEL_WIDTH)
                ui.IntField(model=self._seed)
                ui.Label("Camera height [m]", width=_LABEL_WIDTH)
                ui.FloatField(model=self._camera_height_m)
            with ui.HStack(height=30, spacing=4):
                self._generate = ui.Button("Generate", clicked_fn=self._on_generate)
                self._cancel = ui.Button("Cancel", clicked_fn=self._controller.cancel)
            ui.ProgressBar(self._progress, height=22)
            self._line = ui.Label("", word_wrap=True)

    @property
    def visible(self) -> bool:
        return self._window is not None and self._window.visible

    def show(self, visible: bool) -> None:
        """Open or close the window."""
        if self._window is not None:
            self._window.visible = visible

    def draw(self, state: JobState) -> None:
        """Show a state of the job."""
        if self._window is None:
            return
        self._progress.set_value(state.fraction)
        self._line.text = state.message
        self._generate.enabled = not state.busy
        self._cancel.enabled = state.busy

    def destroy(self) -> None:
        """Release every widget; safe to call twice."""
        self._close_dialog()
        if self._window is not None:
            self._window.destroy()
            self._window = None

    def _on_generate(self) -> None:
        folder = self._folder.get_value_as_string()
        request = GenerateRequest(
            photo=self._photo.get_value_as_string(),
            out=folder,
            seed=self._seed.get_value_as_int(),
            camera_height_m=self._camera_height_m.get_value_as_float(),
        )
        if self._controller.start(request):
            remember_output_dir(str(Path(folder).parent))

    def _pick_photo(self) -> None:
        try:
            from omni.kit.window.filepicker import FilePickerDialog
        except ImportError:  # an app without the file picker: the path can be typed
            return
        self._close_dialog()
        self._dialog = FilePickerDialog(
            "Choose a photo",
            allow_multi_selection=False,
            apply_button_label="Select",
            click_apply_handler=self._on_picked,
            click_cancel_handler=lambda filename, dirname: self._close_dialog(),
        )

    def _on_picked(self, filename: str, dirname: str) -> None:
        self._close_dialog()
        if filename.lower().endswith(_PHOTO_SUFFIXES):
            self._photo.set_value(str(Path(dirname or ".") / filename))

    def _close_dialog(self) -> None:
        if self._dialog is not None:
            self._dialog.hide()
            self._dialog.destroy()
            self._dialog = None

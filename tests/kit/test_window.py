"""The window over stand-in widgets: what buttons ask for, what is drawn, what is remembered, and that it lets go."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from fake_omni_ui import Shown
from lyra.worldgen.kit.controller import WorldgenController
from lyra.worldgen.kit.jobs import REPRESENTATIONS, UNITS, UPS
from lyra.worldgen.session import Extend, Generate, Import, Session, Undo
from lyra.worldgen.session.events import ErrorEvent, ExitEvent, ProgressEvent, ResultEvent

OURS = tuple(
    f"lyra.worldgen.kit.{name}" for name in ("settings", "window", "window_import", "window_worlds", "file_picker")
)


class Settings(dict):
    """`carb.settings`."""

    def set(self, path: str, value: object) -> None:
        self[path] = value


class Job:
    """At work until told otherwise."""

    def __init__(self) -> None:
        self.events: list = []
        self.cancelled = 0

    def poll(self):
        events, self.events = self.events, []
        return events

    def cancel(self):
        self.cancelled += 1

    def close(self):
        """Nothing to end."""


@pytest.fixture
def kit(monkeypatch, tmp_path):
    """A window over an empty output folder, and everything around it."""
    shown, settings = Shown(), Settings({"/exts/lyra.worldgen/output_dir": str(tmp_path / "worlds")})
    carb, carb_settings = types.ModuleType("carb"), types.ModuleType("carb.settings")
    vars(carb_settings)["get_settings"] = lambda: settings
    vars(carb).update(__path__=[], settings=carb_settings)
    omni, ui = types.ModuleType("omni"), shown.module()
    vars(omni).update(__path__=[], ui=ui)
    for name, module in {"carb": carb, "carb.settings": carb_settings, "omni": omni, "omni.ui": ui}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in OURS:
        # Imported against the stand-ins: nobody else may find them.
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    from lyra.worldgen.kit.settings import read_settings
    from lyra.worldgen.kit.window import Deeds, WorldgenWindow

    commands: list = []
    jobs: list[Job] = []

    def draw(state):
        drawn[0].draw(state)

    def show_frame(jpeg):
        drawn[0].show_frame(jpeg)

    def launch(command):
        commands.append(command)
        jobs.append(Job())
        return jobs[-1]

    pressed: list[str] = []
    drawn: list[WorldgenWindow] = []
    names = ("load", "robot", "task", "overlay", "add_key", "drop_key")
    deeds = {name: (lambda name=name: pressed.append(name)) for name in names}
    controller = WorldgenController(
        lambda folder: Session(folder, launch=launch),
        on_change=draw,
        on_frame=show_frame,
    )
    window = WorldgenWindow(
        controller,
        read_settings(),
        Deeds(
            **deeds,
            record=lambda on: pressed.append(f"record {on}"),
            save_path=lambda: str(tmp_path / "walk.npz"),
        ),
    )
    drawn.append(window)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    yield types.SimpleNamespace(
        shown=shown,
        settings=settings,
        window=window,
        controller=controller,
        commands=commands,
        jobs=jobs,
        pressed=pressed,
        folder=tmp_path,
    )
    window.destroy()
    for name in OURS:
        sys.modules.pop(name, None)


def test_the_form_is_what_is_generated(kit):
    """A dropped photo, the fields and the boxes become one command; buttons follow the work."""
    photo = kit.shown.fields[0]
    assert photo.accept("a.JPG") and not photo.accept("a.txt")
    kit.shown.press("Generate")
    assert kit.commands == [] and "Choose a photo" in kit.controller.state.message
    photo.drop(types.SimpleNamespace(mime_data=str(kit.folder / "photo.jpg")))
    kit.shown.fields[2].options["model"].set_value("spin:turns=1")
    kit.shown.boxes[0].value.set_value(1)
    kit.shown.boxes[1].value.set_value(1)
    kit.shown.press("Seed only")
    (command,) = kit.commands
    assert isinstance(command, Generate) and command.photo == kit.folder / "photo.jpg"
    assert command.until == "understand" and command.config.generation.painter == "patch"
    assert command.config.generation.path == "spin:turns=1" and command.config.generation.view_long_side_px == 256
    assert not kit.shown.buttons["Generate"].enabled and kit.shown.buttons["Cancel"].enabled
    kit.shown.press("Generate")
    assert len(kit.commands) == 1
    kit.jobs[0].events = [ProgressEvent(stage="explore", fraction=0.4)]
    kit.controller.poll()
    assert "explore: 40 %" in kit.window._line.text
    kit.shown.press("Cancel")
    assert kit.jobs[0].cancelled == 1
    kit.jobs[0].events = [ExitEvent(exit_code=130)]
    kit.controller.poll()
    assert kit.shown.buttons["Resume"].enabled and kit.shown.buttons["Generate"].enabled
    kit.shown.press("Resume")
    assert len(kit.commands) == 2
    kit.jobs[1].events = [ErrorEvent(message="no space"), ExitEvent(exit_code=4)]
    kit.controller.poll()
    assert "no space" in kit.window._line.text
    assert kit.settings["/exts/lyra.worldgen/last_world"] == str(kit.folder / "worlds" / "world")


def test_what_is_done_to_a_world(kit):
    """Extend, undo and the camera path go to the world that was made; the stage's buttons go to the extension."""
    kit.shown.fields[0].options["model"].set_value(str(kit.folder / "photo.jpg"))
    kit.shown.press("Generate")

    def finished() -> None:
        kit.jobs[-1].events = [
            ResultEvent(folder=str(kit.folder / "worlds" / "world"), passed=True),
            ExitEvent(exit_code=0),
        ]
        kit.controller.poll()

    finished()
    for press in ("Extend", "Undo", "Use"):
        kit.shown.press(press)
        finished()
    extend, undo, walk = kit.commands[1:]
    assert isinstance(extend, Extend) and extend.path == "auto" and isinstance(undo, Undo)
    assert isinstance(walk, Extend) and walk.path.endswith("walk.npz") and walk.pose_scale == 1.0
    for press in ("Robot", "Task", "Free space", "Add key", "Drop key", "Record", "Record"):
        kit.shown.press(press)
    assert kit.pressed == ["robot", "task", "overlay", "add_key", "drop_key", "record True", "record False"]
    kit.shown.boxes[4].value.set_value(REPRESENTATIONS.index("both"))
    kit.shown.press("Load")
    assert kit.pressed[-1] == "load" and kit.settings["/exts/lyra.worldgen/representation"] == "both"


def test_a_file_of_another_program_is_imported(kit):
    """Dropped or typed, with its axes and units, as the command line's `import`; buttons follow the work."""
    kit.shown.press("Import")
    assert kit.commands == [] and "Choose a scan or a mesh" in kit.controller.state.message
    scan = kit.folder / "scan.PLY"
    scan.write_bytes(b"ply")
    field = kit.shown.fields[-1]
    assert field.accept("room.glb") and field.accept("hall_360.jpg") and not field.accept("a.txt")
    kit.window._on_dropped(None, ["notes.txt", str(scan)])
    assert field.options["model"].value == str(scan) and kit.shown.fields[0].options["model"].value == ""
    kit.shown.boxes[1].value.set_value(1)
    for box, value in ((kit.shown.boxes[2], UPS.index("y-down")), (kit.shown.boxes[3], UNITS.index("cm"))):
        box.value.set_value(value)
    kit.shown.press("Import")
    (command,) = kit.commands
    assert isinstance(command, Import) and command.source == scan and command.until == ""
    assert (command.config.source.up, command.config.source.units) == ("y-down", "cm")
    assert command.config.reconstruction.texture_px == 1024
    assert command.config.generation.view_long_side_px == 512, (
        "an import paints nothing, so a server takes no such setting"
    )
    assert not kit.shown.buttons["Import"].enabled
    kit.jobs[0].events = [ErrorEvent(message="no splats"), ExitEvent(exit_code=2)]
    kit.controller.poll()
    assert "no splats" in kit.window._line.text and kit.shown.buttons["Import"].enabled
    kit.shown.press("Resume")
    assert kit.commands == [command, command]


def test_pictures_worlds_and_the_end(kit, room_world):
    """Frames are shown small, a world of the list is opened by its button, and destroying twice is fine."""
    data = io.BytesIO()
    Image.new("RGB", (1024, 512)).save(data, "JPEG")
    kit.window.show_frame(data.getvalue())
    kit.window.show_frame(b"no picture")
    assert kit.shown.pictures == [(512, 256)]
    (kit.folder / "worlds").mkdir()
    (kit.folder / "worlds" / "alcove").symlink_to(room_world)
    kit.shown.press("Refresh")
    kit.shown.press("alcove")
    assert kit.controller.state.folder == str(kit.folder / "worlds" / "alcove")
    assert kit.settings["/exts/lyra.worldgen/last_world"] == str(kit.folder / "worlds" / "alcove")
    kit.window.show(False)
    assert not kit.window.visible
    kit.window.destroy()
    kit.window.destroy()
    assert kit.shown.windows[0].destroyed == 1
    kit.window.draw(kit.controller.state)
    kit.window.show_frame(data.getvalue())


def test_photos_dropped_from_outside(kit):
    """The first picture of what is dropped on the window is taken; other files are not."""
    kit.window._on_dropped(None, ["notes.txt", str(Path("a") / "b.png"), "c.jpg"])
    assert kit.shown.fields[0].options["model"].value == str(Path("a") / "b.png")
    kit.window._on_dropped(None, ["notes.txt"])
    assert kit.shown.fields[0].options["model"].value == str(Path("a") / "b.png")

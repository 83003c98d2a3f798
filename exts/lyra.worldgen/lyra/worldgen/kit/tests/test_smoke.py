"""Enabled, window opens and closes, a world folder lands on the stage, cameras are read, clean shutdown."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import omni.kit.app
import omni.kit.test
import omni.usd
from pxr import Gf, Usd, UsdGeom

from ...core.errors import InputError
from ...session import Session
from ..controller import Phase, WorldgenController
from ..jobs import GenerateRequest, Showing, WorkPlace, open_session
from ..settings import read_settings
from ..stage import load_world, open_stage, world_path_of
from ..stage_content import camera_pose_in
from ..window import Deeds, WorldgenWindow


def write_marked_world(folder: str) -> None:
    """A layer that is laid out as a world's interface layer is, with one marker in it."""
    layer = Usd.Stage.CreateNew(str(Path(folder) / "world.usda"))
    UsdGeom.SetStageUpAxis(layer, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(layer, 1.0)
    layer.SetDefaultPrim(layer.DefinePrim("/World", "Xform"))
    layer.DefinePrim("/World/Marker", "Xform")
    layer.GetRootLayer().Save()


class TestSmoke(omni.kit.test.AsyncTestCase):
    """What a user would notice first."""

    async def setUp(self) -> None:
        await omni.usd.get_context().new_stage_async()
        stage = omni.usd.get_context().get_stage()
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)

    async def test_extension_is_enabled(self) -> None:
        """The manifest names a module that Kit could start."""
        manager = omni.kit.app.get_app().get_extension_manager()
        self.assertTrue(manager.is_extension_enabled("lyra.worldgen"))

    async def test_window_opens_draws_and_goes(self) -> None:
        """The window follows its controller and releases its widgets twice without complaint."""

        def refuse(folder: Path) -> Session:
            return open_session(folder, WorkPlace(launcher="/nowhere/lyra-worldgen"), near=None)

        pressed: list[str] = []
        deeds = Deeds(
            load=lambda: pressed.append("load"),
            robot=lambda: pressed.append("robot"),
            task=lambda: pressed.append("task"),
            overlay=lambda: pressed.append("overlay"),
            add_key=lambda: pressed.append("add"),
            drop_key=lambda: pressed.append("drop"),
            record=lambda on: pressed.append("record"),
            save_path=lambda: None,
        )
        controller = WorldgenController(refuse)
        window = WorldgenWindow(controller, read_settings(), deeds)
        await omni.kit.app.get_app().next_update_async()
        self.assertTrue(window.visible)
        controller.generate(GenerateRequest(photo="", out=""))
        window.draw(controller.state)
        window.show_frame(b"no picture")
        self.assertIs(controller.state.phase, Phase.FAILED)
        self.assertEqual(pressed, [])
        window.destroy()
        window.destroy()
        controller.close()

    async def test_world_lands_beside_what_is_there(self) -> None:
        """Loading twice shows one world anew; a folder without a world is refused."""
        with tempfile.TemporaryDirectory() as folder:
            write_marked_world(folder)
            stage = open_stage()
            stage.DefinePrim("/World/Lyra", "Xform")
            showing = Showing(physics=False)
            first, second = (load_world(folder, "/World/Lyra", showing) for _ in range(2))
            self.assertEqual((first, second), ("/World/Lyra_2", "/World/Lyra_2"))
            self.assertEqual(world_path_of(folder), first)
            self.assertTrue(stage.GetPrimAtPath(f"{second}/Marker").IsValid())
            with self.assertRaises(InputError):
                load_world(str(Path(folder) / "absent"), "/World/Lyra")
            await omni.usd.get_context().new_stage_async()

    async def test_cameras_are_read_in_the_worlds_frame(self) -> None:
        """A camera that looks along +X of a moved world has a pose without the move."""
        with tempfile.TemporaryDirectory() as folder:
            write_marked_world(folder)
            stage = open_stage()
            path = load_world(folder, "/World/Lyra", Showing(physics=False))
            UsdGeom.Xformable(stage.GetPrimAtPath(path)).AddTranslateOp().Set(Gf.Vec3d(3.0, 0.0, 0.0))
            UsdGeom.Camera.Define(stage, "/Camera").AddTranslateOp().Set(Gf.Vec3d(4.0, 2.0, 1.5))
            T_world_cam = camera_pose_in(stage, "/Camera", path)
            np.testing.assert_allclose(T_world_cam[:3, 3], [1.0, 2.0, 1.5], atol=1e-9)
            await omni.usd.get_context().new_stage_async()

"""Enabled, window opens and closes, a world folder lands on the stage, clean shutdown."""

from __future__ import annotations

import tempfile
from pathlib import Path

import omni.kit.app
import omni.kit.test
import omni.usd
from pxr import Usd, UsdGeom

from ...core.errors import InputError
from ..controller import Phase, WorldgenController
from ..jobs import GenerateRequest
from ..settings import read_settings
from ..stage import load_world
from ..window import WorldgenWindow


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

        def refuse(request: GenerateRequest):
            raise FileNotFoundError("nothing to start in this test")

        controller = WorldgenController(refuse)
        window = WorldgenWindow(controller, read_settings())
        await omni.kit.app.get_app().next_update_async()
        self.assertTrue(window.visible)
        controller.start(GenerateRequest(photo="", out=""))
        window.draw(controller.state)
        self.assertIs(controller.state.phase, Phase.FAILED)
        window.destroy()
        window.destroy()

    async def test_world_lands_beside_what_is_there(self) -> None:
        """Loading twice gives two payloads under different names; a folder without a world is refused."""
        with tempfile.TemporaryDirectory() as folder:
            layer = Usd.Stage.CreateNew(str(Path(folder) / "world.usda"))
            UsdGeom.SetStageUpAxis(layer, UsdGeom.Tokens.z)
            UsdGeom.SetStageMetersPerUnit(layer, 1.0)
            layer.SetDefaultPrim(layer.DefinePrim("/World", "Xform"))
            layer.DefinePrim("/World/Marker", "Xform")
            layer.GetRootLayer().Save()
            first, second = load_world(folder, "/World/Lyra"), load_world(folder, "/World/Lyra")
            self.assertEqual((first, second), ("/World/Lyra", "/World/Lyra_2"))
            self.assertTrue(omni.usd.get_context().get_stage().GetPrimAtPath(f"{second}/Marker").IsValid())
            with self.assertRaises(InputError):
                load_world(str(Path(folder) / "absent"), "/World/Lyra")

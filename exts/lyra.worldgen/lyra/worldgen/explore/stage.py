"""The 3D view: a world's layers, the authored path, the robot and the ruler, drawn with viser."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..core.camera import PinholeCamera
from ..core.errors import WorldgenError
from ..core.frames import camera_pose, quat_wxyz_from_rotation, rigid, rotation_from_quat_wxyz
from ..faces.camera_path import PathDraft
from ..faces.contents import LAYERS, Contents
from ..faces.layers import outline
from .measure import Ruler
from .robot_drive import RobotDrive

log = logging.getLogger(__name__)

POINT_SIZE_M = 0.02
PATH_RGB, KEY_RGB, BEGIN_RGB = (255, 140, 0), (255, 200, 80), (120, 200, 120)
ROBOT_RGB, RULER_RGB = (47, 123, 255), (220, 40, 160)
REACHED_RGB, MISSED_RGB = (47, 123, 255), (255, 59, 48)
COLLIDER_RGB = (90, 160, 230)
Z_FROM_Y_UP_WXYZ = (2**-0.5, 2**-0.5, 0.0, 0.0)
"""glTF is Y up."""
FACE_UP_WXYZ = (0.0, 1.0, 0.0, 0.0)
"""Pictures hang like a camera's; this one lies on the floor, seen from above."""
LIFT_M = 0.05
"""Lines on the floor are drawn above it."""
ROBOT_EYE_M, ROBOT_HEIGHT_M = 0.5, 0.6
LOOK_WORST_PERCENT = 10.0


class Stage:
    """Draws into a viser server; slow work happens in a thread of its own, one thing after another."""

    def __init__(self, server: Any, complain: Callable[[str], None]) -> None:
        """
        Args:
            server: a `viser.ViserServer`.
            complain: told in words when a layer cannot be shown.
        """
        self._server, self._complain = server, complain
        self._contents: Contents | None = None
        self._shown: set[str] = set()
        self._nodes: dict[str, list[Any]] = {}
        self._lock = threading.RLock()
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="layers")
        self._drawings: dict[str, list[Any]] = {}

    @property
    def shown(self) -> frozenset[str]:
        """Layers that are switched on."""
        return frozenset(self._shown)

    def take(self, contents: Contents | None) -> None:
        """Show another world, or the same one after it changed; layers stay switched as they are."""
        with self._lock:
            self._contents = contents
        for name in LAYERS:
            self._loader.submit(self._load, name, contents)

    def switch(self, name: str, on: bool) -> None:
        """Switch a layer. What is off is not sent to browsers; what is on is read when it is first seen."""
        with self._lock:
            (self._shown.add if on else self._shown.discard)(name)
            self._loader.submit(self._load, name, self._contents)

    def wait(self) -> None:
        """Return when everything that was asked for so far is drawn."""
        self._loader.submit(lambda: None).result()

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _load(self, name: str, contents: Contents | None) -> None:
        """Replace a layer's nodes by those of a world; in the loader's thread."""
        with self._lock:
            if contents is not self._contents:
                return
            old = self._nodes.pop(name, [])
            wanted = name in self._shown
        made: list[Any] = []
        if contents is not None and wanted and contents.has_layer(name):
            try:
                made = getattr(self, f"_draw_{name.replace(' ', '_')}")(contents)
            except WorldgenError as error:
                self._complain(f"{name}: {error}")
            except Exception as error:
                log.exception("the layer '%s' cannot be drawn", name)
                self._complain(f"{name} cannot be drawn: {type(error).__name__}")
        with self._server.atomic():
            for node in old:
                # One that has the name of a new one was replaced by it.
                if node.name not in {new.name for new in made}:
                    node.remove()
        with self._lock:
            self._nodes[name] = made

    def _draw_points(self, contents: Contents) -> list[Any]:
        layer = contents.points
        return [
            self._server.scene.add_point_cloud(
                "/world/points",
                layer.points_world,
                layer.rgb_u8,
                point_size=POINT_SIZE_M,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
            )
        ]

    def _draw_splats(self, contents: Contents) -> list[Any]:
        layer = contents.splats
        return [
            self._server.scene.add_gaussian_splats(
                "/world/splats", layer.centres_world, layer.covariances_m2, layer.rgb, layer.opacities
            )
        ]

    def _draw_mesh(self, contents: Contents) -> list[Any]:
        return [
            self._server.scene.add_glb(
                "/world/mesh", contents.mesh_glb, wxyz=Z_FROM_Y_UP_WXYZ, cast_shadow=False, receive_shadow=False
            )
        ]

    def _draw_collider(self, contents: Contents) -> list[Any]:
        collider = contents.collider
        solid = self._server.scene.add_mesh_simple(
            "/world/collider",
            collider.mesh.vertices.astype(np.float32),
            collider.mesh.faces.astype(np.uint32),
            color=COLLIDER_RGB,
            opacity=0.25,
            flat_shading=True,
            side="double",
            cast_shadow=False,
            receive_shadow=False,
        )
        edges = outline(collider.mesh, collider.side).astype(np.float32)
        return [solid, self._segments("/world/collider-edges", edges, COLLIDER_RGB, 1.5)]

    def _draw_free_space(self, contents: Contents) -> list[Any]:
        layer = contents.free_space
        return [
            self._server.scene.add_image(
                "/world/free-space",
                layer.rgba_u8,
                *layer.size_m,
                wxyz=FACE_UP_WXYZ,
                position=layer.centre_world,
                cast_shadow=False,
                receive_shadow=False,
            )
        ]

    def _draw_certificate(self, contents: Contents) -> list[Any]:
        layer, z = contents.findings, contents.floor_z_m + LIFT_M
        nodes = []
        for kind, traces, rgb in (("reached", layer.reached, REACHED_RGB), ("missed", layer.missed, MISSED_RGB)):
            pieces = [np.stack([t[:-1], t[1:]], 1) for t in traces if len(t) > 1]
            if pieces:
                flat = np.concatenate(pieces)
                ends = np.concatenate([flat, np.full((*flat.shape[:2], 1), z)], -1).astype(np.float32)
                nodes.append(self._segments(f"/world/drives-{kind}", ends, rgb, 5.0))
        for number, (place, heading_rad, disagree_percent) in enumerate(layer.looks):
            bad = min(disagree_percent / LOOK_WORST_PERCENT, 1.0)
            rgb = tuple(round((1 - bad) * g + bad * b) for g, b in zip(BEGIN_RGB, MISSED_RGB, strict=True))
            T = rigid(_looking(heading_rad), place)
            nodes.append(self._frustum(f"/world/looks/{number}", T, rgb, 0.25, np.radians(50), 4 / 3))
        return nodes

    def draw_path(self, draft: PathDraft, camera: PinholeCamera | None, chosen: int | None) -> None:
        """The authored path: a frustum for each key pose, a line through all frames; the chosen key is larger."""
        nodes: list[Any] = []
        if draft.keys:
            aspect, fov = (camera.width_px / camera.height_px, camera.vfov_rad) if camera else (4 / 3, np.radians(60))
            nodes.append(self._frustum("/path/begin", draft.T_world_begin, BEGIN_RGB, 0.2, fov, aspect))
            for k, T in enumerate(draft.keys):
                size = 0.32 if k == chosen else 0.2
                nodes.append(self._frustum(f"/path/key-{k}", T, KEY_RGB, size, fov, aspect))
            try:
                at = draft.poses()[::4, :3, 3]
            except WorldgenError:
                at = np.stack([draft.T_world_begin, *draft.keys])[:, :3, 3]
            line = np.stack([at[:-1], at[1:]], 1).astype(np.float32)
            if len(line):
                nodes.append(self._segments("/path/line", line, PATH_RGB, 4.0))
        self._redraw("path", nodes)

    def draw_robot(self, drive: RobotDrive | None, floor_z_m: float) -> None:
        """The robot as a disc with a nose, red while something stops it."""
        nodes: list[Any] = []
        if drive is not None and (state := drive.state) is not None:
            rgb = MISSED_RGB if state.blocked else ROBOT_RGB
            at = (*state.xy_m, floor_z_m + ROBOT_HEIGHT_M / 2)
            body = self._server.scene.add_cylinder(
                "/robot/body", drive.radius_m, ROBOT_HEIGHT_M, color=rgb, position=at, cast_shadow=False
            )
            ahead = np.array([np.cos(state.heading_rad), np.sin(state.heading_rad), 0.0])
            top = np.array([*state.xy_m, floor_z_m + ROBOT_HEIGHT_M + LIFT_M])
            nose = np.array([[top, top + 2 * drive.radius_m * ahead]], np.float32)
            nodes = [body, self._segments("/robot/nose", nose, rgb, 6.0)]
        self._redraw("robot", nodes)

    def draw_ruler(self, ruler: Ruler) -> None:
        """The places that were pointed at, and the line between them."""
        nodes = [
            self._server.scene.add_icosphere(
                f"/ruler/{k}", 0.04, color=RULER_RGB, position=tuple(end), cast_shadow=False
            )
            for k, end in enumerate(ruler.ends_world)
        ]
        if len(ruler.ends_world) == 2:
            line = np.stack(ruler.ends_world)[None].astype(np.float32)
            nodes.append(self._segments("/ruler/line", line, RULER_RGB, 4.0))
        self._redraw("ruler", nodes)

    def look(self, T_world_cam: np.ndarray, clients: list[Any] | None = None) -> None:
        """Move cameras of browsers, all of them if none are named."""
        for client in self._server.get_clients().values() if clients is None else clients:
            with client.atomic():
                client.camera.wxyz = quat_wxyz_from_rotation(T_world_cam[:3, :3])
                client.camera.position = T_world_cam[:3, 3]

    def begin_looking(self, T_world_cam: np.ndarray) -> None:
        """Where browsers that come later look from."""
        start = self._server.initial_camera
        start.position = tuple(T_world_cam[:3, 3])
        start.look_at = tuple(T_world_cam[:3, 3] + T_world_cam[:3, 2])
        start.up = (0.0, 0.0, 1.0)

    def _segments(self, name: str, ends: np.ndarray, rgb: tuple[int, int, int], width: float) -> Any:
        return self._server.scene.add_line_segments(name, ends, rgb, thickness=width, thickness_units="screen")

    def _frustum(
        self, name: str, T_world_cam: np.ndarray, rgb: tuple[int, ...], size: float, fov_rad: float, aspect: float
    ) -> Any:
        return self._server.scene.add_camera_frustum(
            name,
            fov=float(fov_rad),
            aspect=float(aspect),
            scale=size,
            color=rgb,
            wxyz=quat_wxyz_from_rotation(T_world_cam[:3, :3]),
            position=T_world_cam[:3, 3],
            cast_shadow=False,
        )

    def _redraw(self, name: str, nodes: list[Any]) -> None:
        with self._lock:
            names = {node.name for node in nodes}
            for node in self._drawings.get(name, ()):
                if node.name not in names:
                    node.remove()
            self._drawings[name] = nodes


def pose_of(camera: Any) -> np.ndarray:
    """[4, 4] `T_world_cam` of a browser's camera."""
    return rigid(rotation_from_quat_wxyz(np.asarray(camera.wxyz)), np.asarray(camera.position))


def robot_eye(drive: RobotDrive, floor_z_m: float) -> np.ndarray | None:
    """[4, 4] what the robot's camera sees from; None while it is nowhere."""
    if (state := drive.state) is None:
        return None
    return rigid(_looking(state.heading_rad), np.array([*state.xy_m, floor_z_m + ROBOT_EYE_M]))


def _looking(heading_rad: float) -> np.ndarray:
    """[3, 3] rotation of a level camera."""
    return camera_pose(np.zeros(3), heading_rad=heading_rad)[:3, :3]

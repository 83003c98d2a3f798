"""The composed stage, read back with USD."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.config import SimulationConfig
from lyra.worldgen.core.frames import camera_pose, cv_from_usd_camera
from lyra.worldgen.sim.simulate import WorldMeta, write_simulation
from sample_worlds import open_place, sample_splats, simple_room

pxr = pytest.importorskip("pxr")
POSE = camera_pose(np.array([0.0, 0.0, 1.5]), pitch_rad=-0.2, roll_rad=0.1)
CAMERA = PinholeCamera.from_hfov(800, 600, 1.2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    mesh = simple_room(step_m=0.5)
    meta = WorldMeta(name="sample", camera=CAMERA, T_world_cam=POSE, confidence=0.2, licence="CC0-1.0")
    splats = sample_splats(mesh, 200)
    result = write_simulation(folder, mesh, splats, cfg=SimulationConfig(episode_count=3), meta=meta, seed=0)
    return folder, mesh, splats, result


def open_stage(path, representation=None):
    from pxr import Usd

    stage = Usd.Stage.Open(str(path))
    if representation:
        with Usd.EditContext(stage, stage.GetSessionLayer()):
            stage.GetPrimAtPath("/World").GetVariantSet("representation").SetVariantSelection(representation)
    return stage


def test_every_layer_has_the_same_head(world):
    """Z up, metres, kilograms and default prim /World, in the payloads too."""
    from pxr import Sdf

    folder = world[0]
    layers = [p for p in sorted(folder.rglob("*.usd*"))]
    assert len(layers) == 6
    for path in layers:
        layer = Sdf.Layer.FindOrOpen(str(path))
        root = layer.pseudoRoot
        assert layer.defaultPrim == "World", path
        assert (root.GetInfo("upAxis"), root.GetInfo("metersPerUnit"), root.GetInfo("kilogramsPerUnit")) == ("Z", 1, 1)
        assert not layer.comment and not layer.documentation


@pytest.mark.parametrize(("variant", "seen"), [("mesh", (1, 0)), ("splats", (0, 1)), ("both", (1, 1))])
def test_representation_decides_what_is_drawn(world, variant, seen):
    """Mesh, splats or both; colliders come with each; mesh is what opens by default."""
    stage = open_stage(world[0] / "world.usda", variant)
    assert (bool(stage.GetPrimAtPath("/World/Visual")), bool(stage.GetPrimAtPath("/World/Splats/gaussians"))) == seen
    assert stage.GetPrimAtPath("/World/Collision/floor_000")
    default = open_stage(world[0] / "world.usda")
    assert default.GetPrimAtPath("/World").GetVariantSet("representation").GetVariantSelection() == "mesh"


def test_colliders_are_static_boxes_where_the_plan_has_them(world):
    """Composed cubes equal the plan's boxes; everything collides, nothing is a rigid body, purpose is guide."""
    from pxr import UsdGeom, UsdPhysics

    folder, _, _, result = world
    stage = open_stage(folder / "world.usda")
    cache = UsdGeom.XformCache()
    corners = np.array([[x, y, z, 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    for name, box in zip(result.plan.box_names(), result.plan.boxes, strict=True):
        prim = stage.GetPrimAtPath(f"/World/Collision/{name}")
        matrix = np.array(cache.GetLocalToWorldTransform(prim))
        np.testing.assert_allclose((corners @ matrix)[:, :3], box.corners_m(), atol=1e-6)
    colliders = [p for p in stage.Traverse() if p.HasAPI(UsdPhysics.CollisionAPI)]
    assert len(colliders) == len(result.plan.boxes) + 1
    assert not any(p.HasAPI(UsdPhysics.RigidBodyAPI) for p in stage.TraverseAll())
    assert UsdGeom.Imageable(colliders[0]).ComputePurpose() == "guide"
    rest = UsdPhysics.MeshCollisionAPI(stage.GetPrimAtPath("/World/Collision/rest"))
    assert rest.GetApproximationAttr().Get() == "none"


def test_visual_mesh_is_split_by_label_and_keeps_its_surface(world):
    """One labelled prim per part, the same area and facing, unit normals, indexed texture coordinates."""
    from pxr import UsdGeom, UsdSemantics

    folder, mesh, _, _ = world
    stage = open_stage(folder / "world.usda")
    area = 0.0
    for name in ("floor", "wall", "ceiling", "object"):
        prim = stage.GetPrimAtPath(f"/World/Visual/{name}")
        assert list(UsdSemantics.LabelsAPI(prim, "class").GetLabelsAttr().Get()) == [name]
        part = UsdGeom.Mesh(prim)
        points, index = np.array(part.GetPointsAttr().Get()), np.array(part.GetFaceVertexIndicesAttr().Get())
        normals = np.array(part.GetNormalsAttr().Get())
        corners = points[index].reshape(-1, 3, 3)
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area += 0.5 * np.linalg.norm(cross, axis=1).sum()
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        # A room of boxes: every corner's normal is its face's normal.
        facing = (
            np.einsum("fc,fkc->fk", cross, normals[index].reshape(-1, 3, 3)) / np.linalg.norm(cross, axis=1)[:, None]
        )
        assert facing.min() > 0.999
        assert UsdGeom.PrimvarsAPI(prim).GetPrimvar("st").IsIndexed()
    assert area == pytest.approx(mesh.face_areas_m2().sum(), rel=1e-5)


def test_splats_read_back(world):
    """Positions, scales, orientations, opacities and colours are the cloud's, and the extent holds them."""
    folder, _, splats, _ = world
    stage = open_stage(folder / "world.usda", "splats")
    field = stage.GetPrimAtPath("/World/Splats/gaussians")

    def get(name):
        return field.GetAttribute(name).Get()

    np.testing.assert_array_equal(np.array(get("positions")), splats.means)
    np.testing.assert_array_equal(np.array(get("scales")), splats.scales_m)
    np.testing.assert_array_equal(np.array(get("opacities")), splats.opacities)
    np.testing.assert_array_equal(np.array(get("radiance:sphericalHarmonicsCoefficients")), splats.sh[:, 0])
    wxyz = np.array([[q.real, *q.imaginary] for q in get("orientations")])
    np.testing.assert_allclose(wxyz, splats.quats_wxyz, atol=1e-6)
    low, high = (np.array(c) for c in get("extent"))
    assert (low < splats.means.min(0)).all() and (high > splats.means.max(0)).all()


def test_photo_camera_has_the_photos_pose_and_field_of_view(world):
    """The USD camera, turned back to OpenCV axes, is the photo's pose."""
    from pxr import UsdGeom

    stage = open_stage(world[0] / "world.usda")
    prim = UsdGeom.Camera(stage.GetPrimAtPath("/World/Cameras/photo"))
    matrix = np.array(prim.ComputeLocalToWorldTransform(0)).T
    np.testing.assert_allclose(cv_from_usd_camera(matrix), POSE, atol=1e-9)
    gf = prim.GetCamera()
    assert np.radians(gf.GetFieldOfView(gf.FOVHorizontal)) == pytest.approx(CAMERA.hfov_rad, abs=1e-5)
    assert np.radians(gf.GetFieldOfView(gf.FOVVertical)) == pytest.approx(CAMERA.vfov_rad, abs=1e-5)


def test_scene_layer_alone_brings_physics_and_light(world):
    """world.usda stays free of scene, ground and lights; world_scene.usda has exactly one of each kind it needs."""
    from pxr import UsdGeom, UsdLux, UsdPhysics

    interface, scene = open_stage(world[0] / "world.usda"), open_stage(world[0] / "world_scene.usda")
    assert not any(p.IsA(UsdPhysics.Scene) or p.HasAPI(UsdLux.LightAPI) for p in interface.Traverse())
    assert not interface.GetPrimAtPath("/World/SafetyGround")
    assert [str(p.GetPath()) for p in scene.Traverse() if p.IsA(UsdPhysics.Scene)] == ["/World/PhysicsScene"]
    ground = UsdGeom.Xformable(scene.GetPrimAtPath("/World/SafetyGround"))
    assert ground.ComputeLocalToWorldTransform(0).ExtractTranslation()[2] == pytest.approx(-1.0)


def test_untrusted_scale_is_said_in_the_stage(world):
    """Low confidence reaches the stage's and the prim's custom data."""
    stage = open_stage(world[0] / "world.usda")
    assert stage.GetRootLayer().customLayerData["lyra"]["metricScaleTrusted"] is False
    assert stage.GetPrimAtPath("/World").GetCustomDataByKey("lyra")["metricScaleTrusted"] is False


def test_physx_schema_reads_what_was_spelled_out(world):
    """The attributes written without the PhysX schema are the ones that it declares."""
    pytest.importorskip("physx_usd_schemas")
    probe = (
        "import sys, physx_usd_schemas; from pxr import Usd; from physx_usd_schemas import PhysxSchema\n"
        "stage = Usd.Stage.Open(sys.argv[1]); prim = stage.GetPrimAtPath('/World/PhysicsScene')\n"
        "api = PhysxSchema.PhysxSceneAPI(prim); assert prim.HasAPI('PhysxSceneAPI')\n"
        "print(api.GetEnableCCDAttr().Get(), api.GetSolverTypeAttr().Get(), api.GetTimeStepsPerSecondAttr().Get())"
    )
    layer = str(world[0] / "payloads" / "physics_scene.usda")
    out = subprocess.run([sys.executable, "-c", probe, layer], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["True", "TGS", "60"]


def test_world_without_splats_or_texture(tmp_path):
    """A bare outdoor mesh still makes a complete stage with the mesh as its only representation."""
    mesh = open_place()
    bare = type(mesh)(vertices=mesh.vertices, faces=mesh.faces, face_labels=mesh.face_labels)
    none = sample_splats(mesh, 0)
    cfg = SimulationConfig(episode_count=2)
    result = write_simulation(tmp_path, bare, none, cfg=cfg, meta=WorldMeta(name="bare"), seed=0)
    assert "payloads/splats.usdc" not in result.files and "payloads/textures/albedo.jpg" not in result.files
    stage = open_stage(tmp_path / "world_scene.usda")
    assert stage.GetPrimAtPath("/World").GetVariantSet("representation").GetVariantNames() == ["mesh"]
    assert stage.GetPrimAtPath("/World/Visual/sky") and not stage.GetPrimAtPath("/World/Lights/lamp")

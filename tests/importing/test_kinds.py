"""What a file is, by its content; what is refused says what to do instead."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.importing.kinds import find_source

SPLAT_HEAD = "".join(f"property float {n}\n" for n in ("x", "y", "z", "opacity", "scale_0", "rot_0"))
MESH_HEAD = "property float x\nproperty float y\nproperty float z\nelement face 1\nproperty list uchar int i\n"


def ply(body: str, count: int = 1) -> bytes:
    return f"ply\nformat ascii 1.0\nelement vertex {count}\n{body}end_header\n0 0 0\n".encode()


GLTF = {"asset": {"version": "2.0"}}


@pytest.mark.parametrize(
    ("name", "content", "kind", "layout"),
    [
        ("a.bin", ply(SPLAT_HEAD), "splats", "ply"),
        ("a.ply", ply(MESH_HEAD), "mesh", "ply"),
        ("a.ply", ply("property float x\nproperty float y\nproperty float z\n"), "points", "ply"),
        ("a.ply", b"\x1f\x8b\x08\x00", "splats", "spz"),
        ("a.obj", b"glTF\x02\x00\x00\x00", "mesh", "glb"),
        ("a.txt", json.dumps(GLTF).encode(), "mesh", "gltf"),
        ("a.txt", b"# made by hand\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "mesh", "obj"),
        ("a.dat", b"\xff\xd8\xff\xe0", "panorama", "image"),
        ("a.dat", b"\x00\x00\x00\x18ftypmp42", "views", "video"),
    ],
)
def test_content_decides(name, content, kind, layout, tmp_path):
    """The name means nothing."""
    path = tmp_path / name
    path.write_bytes(content)
    source = find_source(path)
    assert (source.kind, source.layout, source.files) == (kind, layout, (path,))


def test_numpy_archive_holds_views(tmp_path):
    """Arrays are posed pictures to the import, whatever they are called."""
    np.savez(tmp_path / "a.npz", w2c=np.eye(4))
    assert find_source(tmp_path / "a.npz").kind == "views"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.usdc", b"PXR-USDC\x00", "convert it to .glb"),
        ("a.fbx", b"Kaydara FBX Binary", "export it as .glb"),
        ("a.splat", bytes(64), "save it as .ply"),
        ("a.bin", bytes(64), "nothing that can be imported"),
        ("a.ply", b"", "empty"),
        ("a.ply", ply(SPLAT_HEAD, 0), "no vertices"),
        ("a.json", b'{"a": 1}', "no glTF"),
        ("a.zip", b"PK\x03\x04rest", "damaged"),
    ],
)
def test_refusals_say_what_to_do(name, content, says, tmp_path):
    """Formats that are not read are named, with the way out."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        find_source(tmp_path / name)
    assert str(caught.value).endswith(name)


def test_usdz_world_and_wrong_kind_are_refused(tmp_path):
    """A package of USD, a world, and a file that is not what the user says."""
    with zipfile.ZipFile(tmp_path / "a.usdz", "w") as archive:
        archive.writestr("a.usdc", b"PXR-USDC")
    with pytest.raises(InputError, match="USDZ"):
        find_source(tmp_path / "a.usdz")
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "world.json").write_text("{}")
    with pytest.raises(InputError, match="world already"):
        find_source(tmp_path / "world")
    (tmp_path / "a.ply").write_bytes(ply(SPLAT_HEAD))
    with pytest.raises(InputError, match=r"holds splats, but source\.kind is 'mesh'"):
        find_source(tmp_path / "a.ply", "mesh")


@pytest.mark.parametrize(
    "uri", ["../secret.bin", "/etc/passwd", "http://example.org/a.bin", "C:\\a.bin", "a/../../b", "%2e%2e/secret.bin"]
)
def test_side_files_never_leave_the_folder(uri, tmp_path):
    """Neither by dots, nor absolutely, nor by the network, nor quoted."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"secret")
    (folder / "a.gltf").write_text(json.dumps({**GLTF, "buffers": [{"uri": uri, "byteLength": 6}]}))
    with pytest.raises(InputError, match=r"beside it|out of its folder"):
        find_source(folder / "a.gltf")


def test_side_files_through_links_are_refused(tmp_path):
    """A link beside the file that leads elsewhere is no file beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.mtl").write_text("newmtl a\n")
    (folder / "a.mtl").symlink_to(tmp_path / "secret.mtl")
    (folder / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match="out of its folder"):
        find_source(folder / "a.obj")


def test_hash_covers_side_files(tmp_path):
    """A world of a mesh is another one when the mesh's picture is."""
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a b.png\n")
    (tmp_path / "a b.png").write_bytes(b"one")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    first = find_source(tmp_path / "a.obj")
    assert [Path(f).name for f in first.files] == ["a.obj", "a b.png", "a.mtl"]
    (tmp_path / "a b.png").write_bytes(b"two")
    assert find_source(tmp_path / "a.obj").sha256 != first.sha256

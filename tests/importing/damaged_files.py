"""Damaged and malicious files of every format that is imported; also the program that tries to import them.

`python damaged_files.py FOLDER` imports each file below the folder in one process with bounded memory, and prints one
JSON object a file: what came of it, and how far memory had grown by then.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

FORMATS = ("ply", "mesh.ply", "spz", "glb", "gltf", "npz", "obj")
MEMORY_BYTES = 6 << 30
"""Of address space; the libraries take most of it. What a file may make the program take is judged by its growth."""
ALARM_S = 120
SMALL_SAMPLES = 3000


def make_files(folder: Path, count: int) -> list[Path]:
    """So many damaged files, the same every time; needs the product to write what it then damages."""
    rng = np.random.default_rng(0xF022)
    whole = {name: _whole(name) for name in FORMATS}
    files = []
    crafted = list(_crafted(whole))
    for k in range(count):
        if k < len(crafted):
            name, data = crafted[k]
        else:
            kind = FORMATS[k % len(FORMATS)]
            name, data = kind, _damaged(whole[kind], rng)
        path = folder / f"{k:03d}.{name}"
        path.write_bytes(data)
        files.append(path)
    return files


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(7))
        at = int(rng.integers(len(raw)))
        if kind == 0:
            del raw[max(at, 1) :]
        elif kind == 1:
            for place in rng.integers(0, len(raw), 12):
                raw[place] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            raw[at : at + 16] = b"\xff" * min(16, len(raw) - at)
        elif kind == 3:
            raw[at : at + 16] = b"\x00" * min(16, len(raw) - at)
        elif kind == 4:
            raw[at:at] = rng.bytes(int(rng.integers(1, 200)))
        elif kind == 5:
            head = bytes(raw[:2000])
            numbers = list(re.finditer(rb"\d+", head))
            if numbers:
                chosen = numbers[int(rng.integers(len(numbers)))]
                other = [b"4294967295", b"-1", b"0", b"99999999999", b"1e309", b"999999"][int(rng.integers(6))]
                raw[chosen.start() : chosen.end()] = other
        else:
            raw[at : at + 64] = raw[:64]
        if len(raw) < 2:
            break
    return bytes(raw)


def _whole(name: str) -> bytes:
    """A small, sound file: a room of splats or triangles."""
    import io
    import tempfile

    import trimesh

    room = trimesh.creation.box((6, 5, 2.7))
    room.invert()
    vertices, faces = trimesh.remesh.subdivide_to_size(room.vertices, room.faces, 1.2)
    fine = trimesh.Trimesh(vertices, faces, vertex_colors=np.full((len(vertices), 4), 150, np.uint8), process=False)
    if name in ("mesh.ply", "glb", "obj"):
        return bytes(_as_bytes(fine.export(file_type=name.rpartition(".")[2] or name)))
    if name == "gltf":
        return _embedded_gltf(fine)
    if name == "npz":
        buffer = io.BytesIO()
        w2c = np.tile(np.eye(4), (3, 1, 1))
        np.savez(buffer, w2c=w2c, intrinsics=np.tile(np.eye(3), (3, 1, 1)), image_height=[8], image_width=[8])
        return buffer.getvalue()
    from lyra.worldgen.core.splats import GaussianCloud, sh_from_rgb
    from lyra.worldgen.reconstruction.splat_io import write_splats

    points, face = trimesh.sample.sample_surface(room, 4000, seed=3)
    normals = room.face_normals[face]
    quats = np.array([[0.7071068, 0, 0.7071068, 0], [0.7071068, 0.7071068, 0, 0], [1, 0, 0, 0]])
    quats = quats[np.abs(normals).argmax(1)]
    cloud = GaussianCloud(
        means=points.astype(np.float32),
        scales_m=np.tile(np.array([0.08, 0.08, 0.008], np.float32), (len(points), 1)),
        quats_wxyz=quats.astype(np.float32),
        opacities=np.full(len(points), 0.9, np.float32),
        sh=sh_from_rgb(np.full((len(points), 3), 0.5)),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{name}"
        write_splats(path, cloud)
        return path.read_bytes()


def _as_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _embedded_gltf(mesh) -> bytes:
    import base64

    positions = mesh.vertices.astype("<f4").tobytes()
    indices = mesh.faces.astype("<u4").tobytes()
    data = base64.b64encode(positions + indices).decode()
    tree = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(positions + indices), "uri": f"data:application/octet-stream;base64,{data}"}],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(mesh.vertices), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": mesh.faces.size, "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "nodes": [{"mesh": 0, "rotation": [-0.7071068, 0, 0, 0.7071068]}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    return json.dumps(tree).encode()


def _crafted(whole: dict[str, bytes]):
    """(name, content) of files that lie on purpose."""
    tree = json.loads(whole["gltf"])

    def gltf(**changes) -> tuple[str, bytes]:
        return "gltf", json.dumps({**tree, **changes}).encode()

    accessor = tree["accessors"][0]
    yield gltf(accessors=[{**accessor, "count": 2**31}, tree["accessors"][1]])
    yield gltf(accessors=[{k: v for k, v in accessor.items() if k != "bufferView"} | {"count": 10**9}])
    yield gltf(accessors=[{**accessor, "sparse": {"count": 1}}, tree["accessors"][1]])
    yield gltf(accessors=[{**accessor, "count": -4}, tree["accessors"][1]])
    yield gltf(nodes=[{"mesh": 0, "children": [1]}, {"children": [0]}])
    yield gltf(nodes=[{"children": [k + 1]} for k in range(5000)] + [{"mesh": 0}])
    yield gltf(nodes=[{"mesh": 0} for _ in range(900_000)], scenes=[{"nodes": list(range(900_000))}])
    yield gltf(nodes=[{"mesh": 0, "matrix": [1e400] * 16}])
    yield gltf(nodes=[{"mesh": 0, "scale": [0, 0, 0]}])
    yield gltf(nodes=[{"mesh": 99}])
    yield gltf(buffers=[{"byteLength": 2**33, "uri": "data:,AAAA"}])
    yield gltf(buffers=[{"byteLength": 12, "uri": "http://127.0.0.1:9/a.bin"}])
    yield gltf(buffers=[{"byteLength": 12, "uri": "../../../../etc/passwd"}])
    yield gltf(buffers=[{"byteLength": 12, "uri": "file:///etc/passwd"}])
    yield gltf(extensionsRequired=["KHR_draco_mesh_compression"])
    yield gltf(meshes="none")
    yield gltf(meshes=[{"primitives": [{"attributes": {"POSITION": 1}, "indices": 0}]}])
    yield gltf(asset={"version": "1.0"})
    yield "gltf", b'{"asset":{"version":"2.0"},"extras":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    yield "gltf", b'{"asset":' + b'{"a":' * 100_000
    bomb = _png_bomb()
    yield gltf(
        images=[{"uri": "data:image/png;base64," + __import__("base64").b64encode(bomb).decode()}],
        textures=[{"source": 0}],
        materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 0}, "indices": 1, "material": 0}]}],
    )
    yield "glb", struct.pack("<4sII", b"glTF", 2, 2**32 - 1) + b"\x00" * 40
    yield "glb", struct.pack("<4sIII4s", b"glTF", 2, 20, 2**32 - 1, b"JSON")
    yield "spz", gzip.compress(bytes(1 << 29), 9)
    yield "spz", gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 10**7, 3, 12, 0, 0))
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 190000000\n"
    yield "ply", head + b"".join(b"property float %s\n" % n for n in (b"x", b"y", b"z")) + b"end_header\n" + bytes(99)
    mesh_head = b"property float x\nproperty float y\nproperty float z\nelement face 190000000\n"
    listed = b"property list uchar int vertex_indices\nend_header\n"
    yield "mesh.ply", head.replace(b"190000000", b"3") + mesh_head + listed + bytes(60)
    wide = b"property list uint int vertex_indices\nend_header\n"
    lying = bytes(36) + struct.pack("<I", 2**31) + bytes(40)
    yield "mesh.ply", head.replace(b"190000000", b"3") + mesh_head.replace(b"190000000", b"1") + wide + lying
    far = bytes(36) + struct.pack("<B3i", 3, 0, 1, 2**31 - 1)
    yield (
        "mesh.ply",
        head.replace(b"190000000", b"3") + mesh_head.replace(b"190000000", b"1") + listed + far,
    )
    yield "npz", _npz({"w2c": (bytes(1 << 20), (2**20, 4, 4))})
    yield "npz", _npz({"w2c": (bytes(1 << 29), (4_194_304, 4, 4))})
    yield "npz", _npz({f"a{k}": (bytes(16), (2,)) for k in range(3000)})
    yield "obj", b"v 0 0 0\n" * 50_000 + b"f 1 2 99999999\n"
    yield "obj", b"f " + b"1 " * 500_000 + b"\nv 0 0 0\n"
    yield "obj", b"mtllib ../../secret.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    yield "obj", b"v nan nan nan\nv inf 0 0\nv 1e999 1 0\nf 1 2 3\n" * 20
    yield "obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n" + b"f -1 -2 -999999999999\n" * 10


def _png_bomb() -> bytes:
    """A picture of 60,000 x 60,000 pixels in a few bytes."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99999)))
        + chunk(b"IEND", b"")
    )


def _npz(arrays: dict[str, tuple[bytes, tuple[int, ...]]]) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, shape) in arrays.items():
            head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
            head += b" " * (-(len(head) + 11) % 64) + b"\n"
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
    return buffer.getvalue()


def main(folder: Path) -> None:
    """Try every file of a folder."""
    import resource
    import signal

    from lyra.worldgen.core.config import WorldConfig
    from lyra.worldgen.core.errors import WorldgenError
    from lyra.worldgen.importing import samples
    from lyra.worldgen.importing.kinds import find_source, read_source

    samples.SAMPLES = SMALL_SAMPLES
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def hung(number: int, frame: object) -> None:
        raise TimeoutError("hung")

    signal.signal(signal.SIGALRM, hung)
    for path in sorted(folder.iterdir()):
        signal.alarm(ALARM_S)
        try:
            source = find_source(path)
            read_source(source, WorldConfig())
            outcome = "read"
        except WorldgenError as error:
            outcome = f"refused: {error}"
        except BaseException as error:
            outcome = f"CRASH {type(error).__name__}: {error}"
        signal.alarm(0)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = {"file": path.name, "outcome": outcome[:300], "peak_mib": round(peak_mib)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

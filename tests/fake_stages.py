"""A build of tiny stages that write what real ones write: names, folders, chunks, in-place files. Also a program.

`python fake_stages.py PHOTO OUT PAUSE_S` builds a world and sleeps after every step, so that a test can kill it.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import numpy as np

from lyra.worldgen.build import Stage, StageContext, Stages, build_world
from lyra.worldgen.core.camera import PinholeCamera
from lyra.worldgen.core.chunks import Chunk
from lyra.worldgen.core.config import WorldConfig, load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.journey import Leg
from lyra.worldgen.core.progress import Progress
from lyra.worldgen.core.views import Photo, RgbdView

CHUNKS = 4


def fake_stages(pause_s: float = 0.0, fail_in: str = "", error: Exception | None = None) -> Stages:
    """Stages whose bytes follow from photo, seed and the files of the stage before; `fail_in` raises `error`."""

    def step(context: StageContext, name: str, size: int = 2000) -> bytes:
        before = b"".join(
            (context.notes.world / file).read_bytes()
            for file in ("memory/geometry.npz", "memory/explored.npz", "mesh.glb", "world.usda")
            if (context.notes.world / file).is_file()
        )
        key = f"{name} {context.config.seed} {context.photo.sha256}".encode() + before
        rng = np.random.default_rng(list(hashlib.sha256(key).digest()))
        time.sleep(pause_s)
        return rng.bytes(size)

    def write(context: StageContext, name: str, size: int = 2000, folder: Path | None = None, salt: str = "") -> None:
        path = (folder or context.notes.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.partial")  # as writers in place do; a killed one leaves it
        aside.write_bytes(step(context, name + salt, size))
        if not name.startswith(fail_in or "\0"):
            aside.replace(path)
        context.progress.step("write", 1, 2)
        if name.startswith(fail_in or "\0"):
            raise error or OSError(28, "No space left on device")

    def understand(context: StageContext) -> None:
        write(context, "memory/geometry.npz")
        (context.notes.folder / "photo.jpg").write_bytes(context.photo_bytes)
        context.notes.facts = {
            "mode": "manhattan",
            "confidence": 0.5,
            "scale": {"metres_per_unit": 1.0, "source": "camera_height", "relative_sigma": 0.1},
        }

    def explore(context: StageContext) -> None:
        total = np.zeros(20, np.uint8)
        legs = context.manifest.journey or (Leg(path=context.config.generation.path),)
        index = 0
        for number, leg in enumerate(legs):
            for k in range(leg.first, CHUNKS if leg.end is None else leg.end):
                key = f"{leg.path} {leg.seed} {k} {total.tobytes().hex()}"
                chunk = context.chunks.load_chunk(index, key)
                if chunk is None:
                    made = np.frombuffer(step(context, key, 20), np.uint8) + total
                    view = RgbdView(
                        view_id=index,
                        camera=PinholeCamera.from_hfov(5, 4, 1.0),
                        T_world_cam=np.eye(4),
                        rgb_u8=np.repeat(made.reshape(4, 5, 1), 3, 2),
                        depth_z_m=np.ones((4, 5), np.float32),
                        valid=np.ones((4, 5), bool),
                        source=np.ones((4, 5), np.uint8),
                        labels=np.ones((4, 5), np.uint8),
                    )
                    facts = {"leg": number, "path": leg.path, "last": k == CHUNKS - 1}
                    chunk = Chunk(views=(view,), Ts_world_path=np.zeros((0, 4, 4)), facts=facts)
                    context.chunks.save_chunk(index, key, chunk)
                    if context.progress.wants_frames:
                        context.progress.frame(index, 0, view.rgb_u8)
                total = chunk.views[0].rgb_u8[..., 0].reshape(-1)
                index += 1
                context.progress.step("explore", min(index, CHUNKS), CHUNKS)
        context.chunks.keep_chunks(index)
        write(context, "memory/explored.npz", salt=total.tobytes().hex())
        context.notes.backend, context.notes.weights_licence = "patch", "Apache-2.0"

    def reconstruct(context: StageContext) -> None:
        for name in ("mesh.glb", "splats.ply", "points.ply"):
            write(context, name)

    def simulate(context: StageContext) -> None:
        for name in ("world.usda", "payloads/visual.usdc", "payloads/textures/a.png", "nav/map.png"):
            write(context, name)

    def certify(context: StageContext) -> None:
        write(context, "certificate.json", folder=context.notes.world)
        write(context, "certificate.html", folder=context.notes.world)
        context.notes.facts = {"verdict": "passed"}

    def preview(context: StageContext) -> None:
        write(context, ".thumbs/256x256/world.usda.png", folder=context.notes.world)
        write(context, "preview.png", folder=context.notes.world)

    def read_photo(path: Path, config: WorldConfig) -> Photo:
        data = path.read_bytes()
        if not data.startswith((b"photo", b"\x89PNG", b"\xff\xd8")):
            raise InputError(f"the file is no picture; give a JPEG or PNG: {path}")
        rgb = np.zeros((2, 3, 3), np.uint8)
        return Photo(rgb_u8=rgb, name=path.name, sha256=hashlib.sha256(data).hexdigest(), original_size_px=(3, 2))

    return Stages(
        read_photo=read_photo,
        resolve=lambda config: config,
        items=(
            Stage(name="understand", run=understand, sections=("geometry",), outputs=("memory/geometry.npz",)),
            Stage(name="explore", run=explore, sections=("generation",), chunked=True, work=3),
            Stage(name="reconstruct", run=reconstruct, sections=("reconstruction",), outputs=("mesh.glb",)),
            Stage(name="simulate", run=simulate, sections=("simulation",)),
            Stage(
                name="certify",
                run=certify,
                sections=("certificate",),
                in_place=("certificate.html", "certificate.json"),
                outputs=("certificate.json",),
            ),
            Stage(name="preview", run=preview, in_place=("preview.png", ".thumbs/256x256/world.usda.png")),
        ),
    )


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, hidden ones included; `seconds` are taken out of `world.json`."""
    import json

    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "world.json":
                plain = json.loads(data)
                for record in plain["stages"].values():
                    record["seconds"] = 0.0
                data = json.dumps(plain, indent=1).encode()
            found[path.relative_to(folder).as_posix()] = data
        elif not any(path.iterdir()):
            found[path.relative_to(folder).as_posix()] = b"an empty folder"
    return found


if __name__ == "__main__":

    class Marker(Progress):
        """Tells the parent process that the build is under way."""

        def update(self, stage: str, done: int, total: int, note: str = "") -> None:
            sys.stdout.write(f"{stage} {done}\n")
            sys.stdout.flush()

    build_world(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        load_config(None, {"seed": 5}),
        progress=Marker(),
        stages=fake_stages(float(sys.argv[3])),
    )

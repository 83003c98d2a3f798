"""A server process under test and a client that speaks to it, on loopback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

PROGRAM = Path(__file__).resolve().parent / "service" / "serve_program.py"
PATIENCE_S = 240.0
"""Only a safety net: a loaded machine may be slow, a hanging test must still end."""
ENDED = ("finished", "failed", "cancelled")


class Server:
    """One server on a data folder; it can be killed and started again on the same port."""

    def __init__(self, data: Path, **options: Any) -> None:
        self.data, self.options = data, options
        self.address, self.token, self._port = "", "", 0
        self.log = data.parent / f"{data.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        command = [sys.executable, str(PROGRAM), str(self.data), str(self._port), json.dumps(self.options)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        ready = json.loads(line)
        self.address = ready["address"]
        self._port = int(self.address.rpartition(":")[2])
        self.token = ready["token"] or self.token
        return self

    def kill(self) -> None:
        """As a power cut would: no goodbye."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """As an operator would; fails if the server has complained."""
        assert self.process is not None
        self.process.terminate()
        self._reap()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()[-5000:]

    def _reap(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()

    def client(self, token: str | None = None) -> Client:
        return Client(self.address, self.token if token is None else token)


class Client:
    """Somebody with a token."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.session.close()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", PATIENCE_S)
        return self.session.request(method, self.address + path, **options)

    def upload(self, data: bytes, kind: str = "photo", name: str = "kitchen.png") -> requests.Response:
        return self.ask("POST", "/v1/uploads", params={"kind": kind, "name": name}, data=data)

    def photo(self, data: bytes | None = None) -> str:
        answer = self.upload(picture() if data is None else data)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def new_world(self, photo: str, **more: Any) -> tuple[str, str]:
        """Ids of world and job."""
        answer = self.ask("POST", "/v1/worlds", json={"photo": photo, **more})
        assert answer.status_code == 202, answer.text
        return answer.json()["world"]["id"], answer.json()["job"]["id"]

    def new_job(self, world: str, command: str, **more: Any) -> str:
        answer = self.ask("POST", f"/v1/worlds/{world}/jobs", json={"command": command, **more})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            if (state := self.job(job))["state"] in ENDED:
                return state
            time.sleep(0.05 if patience_s == PATIENCE_S else 1.0)
        raise AssertionError(f"the job has not ended: {state}")

    def files(self, world: str) -> dict[str, dict[str, Any]]:
        answer = self.ask("GET", f"/v1/worlds/{world}/files")
        assert answer.status_code == 200, answer.text
        return {file["name"]: file for file in answer.json()}


def picture(seed: int = 0, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    """A small picture file."""
    rgb = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, kind)
    return data.getvalue()


def trajectory(frames: int = 81) -> bytes:
    """A camera path that stands still."""
    data = io.BytesIO()
    w2c = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    K = np.tile(np.array([[80, 0, 40], [0, 80, 24], [0, 0, 1]], np.float32), (frames, 1, 1))
    np.savez(data, w2c=w2c, intrinsics=K, image_height=48, image_width=80)
    return data.getvalue()


def other_user(server: Server, name: str, **quota: float) -> str:
    """Another user's token, made beside the running server as an operator would."""
    from lyra.worldgen.service.limits import ServiceConfig
    from lyra.worldgen.service.server import open_database

    database, _ = open_database(ServiceConfig(data=server.data))
    token = database.add_user(name, quota=quota)
    database.close()
    return token

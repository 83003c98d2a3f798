"""A mesh of another program becomes a world over HTTP: the same bytes as an import on this machine, and no more."""

from __future__ import annotations

import io
import zipfile

import pytest

from lyra.worldgen.build import import_world
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.core.world import load_world
from lyra.worldgen.session import Import, Outcome, Session
from lyra.worldgen.session.remote import RemoteJob
from lyra.worldgen.session.service_client import ServiceClient
from scan_files import room_glb
from service_client import PATIENCE_S, Server

pytestmark = pytest.mark.slow


def test_a_mesh_over_the_wire(tmp_path):
    """Upload, import, download: name and licence are the user's; what only worlds of photos can do fails in words."""
    server = Server(tmp_path / "data", real=True).start()
    data = room_glb(1005)
    with server.client() as client:
        brought = client.upload(data, "scene", "my room").json()
        assert (brought["kind"], brought["name"], brought["facts"]) == ("scene", "my room.glb", {"format": "GLB"})
        settings = {"seed": 3, "source": {"up": "z-up", "units": "m", "licence": "CC-BY-4.0"}}
        asked = {"scene": brought["id"], "name": "room", "settings": settings, "until": "import"}
        answer = client.ask("POST", "/v1/imports", json=asked)
        assert answer.status_code == 202, answer.text
        world, job = answer.json()["world"]["id"], answer.json()["job"]["id"]
        assert client.wait(job)["state"] == "finished", client.job(job)
        assert client.wait(client.new_job(world, "extend", path="forward"))["state"] == "failed"
        archive = zipfile.ZipFile(io.BytesIO(client.ask("GET", f"/v1/worlds/{world}/archive").content))
        archive.extractall(tmp_path / "far")
        # A photo is no scene and a scene no photo.
        for path, key in (("/v1/worlds", "photo"), ("/v1/imports", "scene")):
            other = brought["id"] if key == "photo" else client.photo()
            assert client.ask("POST", path, json={key: other}).status_code == 404
        both = {"scene": brought["id"], "settings": {"source": {"units": "m", "metres_per_unit": 0.5}}}
        assert client.ask("POST", "/v1/imports", json=both).status_code == 409
    (tmp_path / "my room.glb").write_bytes(data)
    config = load_config(None, {"seed": 3, "source.up": "z-up", "source.units": "m", "source.licence": "CC-BY-4.0"})
    fetched = Session(
        tmp_path / "fetched",
        launch=lambda c: RemoteJob(ServiceClient(server.address, server.token), tmp_path / "fetched", c),
    )
    fetched.start(Import(source=tmp_path / "my room.glb", config=config, until="import"))
    done = fetched.wait(PATIENCE_S)
    assert done is not None and done.outcome is Outcome.FINISHED, done
    with pytest.raises(InputError, match="one file"):
        fetched.start(Import(source=tmp_path))
    fetched.close()
    server.stop()
    near = import_world(tmp_path / "my room.glb", tmp_path / "near", config, until="import")
    far = load_world(tmp_path / "far")
    assert far.manifest.files() == near.manifest.files() and far.manifest.photo == near.manifest.photo
    assert load_world(tmp_path / "fetched").manifest.files() == near.manifest.files()
    assert far.manifest.licence == "CC-BY-4.0" and not far.check_files().as_list()

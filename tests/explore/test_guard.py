"""Who may talk to a server without passwords."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.explore.guard import REFUSED, is_own_page
from lyra.worldgen.explore.page import ADDED, PROGRAM, with_additions
from lyra.worldgen.explore.uploads import MAX_UPLOAD_BYTES

HERE = frozenset({"127.0.0.1", "localhost"})


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "own"),
    [
        ("http://127.0.0.1:8770", "127.0.0.1:8770", HERE, True),
        ("http://localhost:8770", "localhost:8770", HERE, True),
        (None, "127.0.0.1:8770", HERE, True),
        ("http://evil.example", "127.0.0.1:8770", HERE, False),
        ("http://127.0.0.1:8000", "127.0.0.1:8770", HERE, False),
        ("http://evil.example:8770", "evil.example:8770", HERE, False),
        ("null", "127.0.0.1:8770", HERE, False),
        ("http://[", "127.0.0.1:8770", HERE, False),
        (None, None, HERE, False),
        ("http://gpu.lan:8770", "gpu.lan:8770", frozenset(), True),
        ("http://evil.example", "gpu.lan:8770", frozenset(), False),
    ],
)
def test_only_the_explorers_own_page(origin, host, allowed, own):
    """Another site's page, another port's page and a name that was pointed here are strangers."""
    assert is_own_page(origin, host, allowed) is own


def test_strangers_hear_nothing(tmp_path):
    """The real server: its own page is told the scene, a page of another site is cut off at once."""
    pytest.importorskip("viser")
    import viser
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from lyra.worldgen.explore.app import Explorer
    from lyra.worldgen.explore.shelf import open_shelf

    with Explorer(open_shelf(tmp_path / "none")) as explorer:
        where = urlsplit(explorer.url).netloc
        options = {"subprotocols": [f"viser-v{viser.__version__}"], "proxy": None}
        with connect(f"ws://{where}", origin=f"http://{where}", **options) as own:
            assert own.recv(timeout=60)
        for origin in ("http://evil.example", "null"):
            with connect(f"ws://{where}", origin=origin, **options) as stranger:
                with pytest.raises(ConnectionClosed) as closed:
                    stranger.recv(timeout=60)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == REFUSED
        messages = explorer.server._websock_server._incoming_handlers
        assert not any("ShareUrl" in kind.__name__ for kind in messages)
        with pytest.raises(InputError, match="cannot listen"):
            Explorer(open_shelf(tmp_path / "none"), port=int(where.rpartition(":")[2]))


def test_an_upload_without_end_is_dropped(tmp_path):
    """What says that it is too large is not begun; what sends more than it said is forgotten."""
    pytest.importorskip("viser")
    from viser import _messages

    from lyra.worldgen.explore.app import Explorer
    from lyra.worldgen.explore.shelf import open_shelf

    with Explorer(open_shelf(tmp_path / "none")) as explorer:
        gui = explorer.server.gui
        button = explorer.panels.world._upload._impl.uuid
        handlers = explorer.server._websock_server._incoming_handlers

        def start(size_bytes: int, parts: int) -> None:
            message = _messages.FileTransferStartUpload(
                source_component_uuid=button,
                transfer_uuid="t",
                filename="a.png",
                mime_type="image/png",
                part_count=parts,
                size_bytes=size_bytes,
            )
            for handler in handlers[_messages.FileTransferStartUpload]:
                handler(0, message)

        start(MAX_UPLOAD_BYTES + 1, 2)
        start(10, 10**9)
        assert gui._current_file_upload_states == {}
        start(10, 2)
        part = _messages.FileTransferPart(
            source_component_uuid=button, transfer_uuid="t", part_index=0, content=bytes(11)
        )
        for handler in handlers[_messages.FileTransferPart]:
            handler(0, part)
        assert gui._current_file_upload_states == {}


def test_the_page_of_another_version_stays_as_it_is():
    """Additions stand where viser's page has their marks; without marks nothing is changed."""
    viser = pytest.importorskip("viser")
    page = Path(viser.__file__).parent / "client" / "build" / "index.html"
    added = with_additions(page.read_text())
    assert added.count(ADDED) == 1 and f"lyraProgram||(text=>text))({PROGRAM})" in added
    assert with_additions("<html></html>") == "<html></html>"

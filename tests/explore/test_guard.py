"""Who may talk to a server without passwords."""

from __future__ import annotations

import pytest

from lyra.worldgen.explore.guard import is_own_page

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

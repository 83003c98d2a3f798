"""Optional packages and backend registries."""

from __future__ import annotations

import pytest

from lyra.worldgen.core.errors import ConfigError, DependencyError
from lyra.worldgen.core.optional import Registry, require


def test_require_returns_the_module():
    """Dotted names give the innermost module."""
    assert require("os.path", extra="gen").join("a", "b") == "a/b"


def test_a_missing_package_names_the_extra():
    """The message says what is missing and how to install it; the cause is kept."""
    with pytest.raises(DependencyError, match=r"no_such_package .*pip install 'lyra-worldgen\[sim\]'") as caught:
        require("no_such_package.part", extra="sim")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(DependencyError, match=r"^no-such-distribution"):
        require("no_such_package", extra="sim", package="no-such-distribution")


def test_registry_lists_without_importing_and_loads_by_name():
    """Listing touches no module; loading imports exactly the one asked for."""
    registry = Registry("codec", {"zeta": "no_such_module:Nothing", "json": "json:JSONEncoder"})
    assert registry.names() == ["json", "zeta"]
    assert registry.load("json").__name__ == "JSONEncoder"


def test_unknown_names_are_answered_with_the_known_ones():
    """A misspelt backend is a config error that lists what exists."""
    with pytest.raises(ConfigError, match="unknown painter 'pach'; expected one of: patch"):
        Registry("painter", {"patch": "json:JSONEncoder"}).load("pach")

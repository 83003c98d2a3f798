"""Optional packages: imported where they are used, and named with the extra that installs them when missing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .errors import ConfigError, DependencyError


def require(module: str, *, extra: str, package: str | None = None) -> ModuleType:
    """Import an optional module.

    Args:
        module: dotted module name, for example `"pxr.Usd"`.
        extra: the extra of this package that installs it.
        package: name of the distribution when it differs from the module's root.

    Raises:
        DependencyError: the module cannot be imported; the message says what to install and why it failed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = package or module.partition(".")[0]
        raise DependencyError(
            f"{name} is needed here but cannot be imported ({error}); "
            f"install it with: pip install 'lyra-worldgen[{extra}]'"
        ) from error


@dataclass(frozen=True)
class Registry:
    """Named backends of one kind, given as `"module:Class"` so that listing them imports nothing heavy."""

    kind: str
    entries: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted(self.entries)

    def load(self, name: str) -> Any:
        """The class or function registered as `name`; raises `ConfigError` that lists the known names."""
        if name not in self.entries:
            raise ConfigError(f"unknown {self.kind} '{name}'; expected one of: {', '.join(self.names())}")
        module, _, attribute = self.entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

"""The exception tree: what the caller can act on, one class per kind of remedy."""


class WorldgenError(Exception):
    """Base of every error that lyra.worldgen raises on purpose; its message says what to do next."""

    exit_code = 1


class InputError(WorldgenError, ValueError):
    """The caller's data or argument is unusable: unreadable photo, wrong shape, empty mesh, foreign folder."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration value is unknown, missing or out of range; the message names the key path."""


class DependencyError(WorldgenError, ImportError):
    """An optional package or application is missing; the message names the extra that installs it."""

    exit_code = 3


class BackendError(WorldgenError, RuntimeError):
    """A model or solver failed: it did not load, ran out of memory or returned non-finite output."""

    exit_code = 4


class ConversionError(WorldgenError, RuntimeError):
    """Geometry could not be turned into USD or into a collider."""

    exit_code = 4


class Cancelled(WorldgenError):
    """The user stopped the work. Not an error in logs."""

    exit_code = 130

"""Weights that do not ship with the package: where they lie, whether they may be fetched, and under which licence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BackendError, ConfigError, InputError
from ..core.optional import require

_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_MAX_TEXT_BYTES = 2**18
_LICENCE_TITLES = (
    (r"apache license\W+version 2", "Apache-2.0"),
    (r"\bmit license", "MIT"),
    (r"attribution-noncommercial 4\.0", "CC-BY-NC-4.0"),
    (r"attribution-sharealike 4\.0", "CC-BY-SA-4.0"),
    (r"attribution 4\.0", "CC-BY-4.0"),
)
_SPDX = {
    name.lower(): name
    for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0")
} | {"cc-by-nc-4.0": "CC-BY-NC-4.0", "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0"}


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """One set of weights as the configuration names it."""

    name: str
    """The folder or hub id as it was given."""
    key: str
    """Key path of the setting, for messages."""
    path: Path | None
    """The local folder or file; None for a hub id."""
    download: bool
    """Whether a hub id that is not on this machine may be fetched."""

    @property
    def model(self) -> str:
        """Name for the provenance: the hub id, or the name of the folder without the machine's path to it."""
        return self.name if self.path is None else self.path.resolve().name

    @property
    def local_files_only(self) -> bool:
        return self.path is not None or not self.download

    def expect_here(self, filename: str = "config.json") -> None:
        """Refuse a hub id that is neither on this machine nor allowed to be fetched.

        Raises:
            ConfigError: it is not on this machine and may not be fetched.
            DependencyError: huggingface_hub is missing.
        """
        if self.path is None and not self.download and self.cached(filename) is None:
            raise ConfigError(
                f"{self.key} is '{self.name}', which is no folder here and not in this machine's hub cache; give a "
                "local folder, or allow the download with --set models.download=true"
            )

    def cached(self, filename: str) -> Path | None:
        """A file of a hub id in this machine's cache; asks no network."""
        hub = require("huggingface_hub", extra="models")
        found = hub.try_to_load_from_cache(self.name, filename)
        return Path(found) if isinstance(found, str) else None

    def load_error(self, error: BaseException) -> BackendError:
        """What a failed load means, in one line."""
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if self.path is None and self.download:
            return BackendError(
                f"{self.key} '{self.name}' cannot be fetched or loaded ({reason}); check the network and the hub id, "
                "or give a local folder"
            )
        return BackendError(f"{self.key} cannot be loaded ({reason}); check that the files are complete: {self.name}")

    def licence(self) -> str:
        """Licence of the weights as their README or LICENSE states it, else "unknown: see <model>"."""
        for filename, reader in (("README.md", _front_matter_licence), ("LICENSE", _licence_title)):
            text = self._text(filename)
            if text and (found := reader(text)):
                return found
        return f"unknown: see {self.model}"

    def _text(self, filename: str) -> str:
        if self.path is None:
            try:
                path = self.cached(filename)
            except ImportError:
                return ""
            if path is None and self.download:
                path = self._fetched(filename)
        else:
            path = (self.path if self.path.is_dir() else self.path.parent) / filename
            if filename == "LICENSE" and not path.is_file():
                path = path.with_suffix(".txt")
        try:
            if path is None or path.stat().st_size > _MAX_TEXT_BYTES:
                return ""
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _fetched(self, filename: str) -> Path | None:
        hub = require("huggingface_hub", extra="models")
        try:
            return Path(hub.hf_hub_download(self.name, filename))
        except Exception:  # a repository without this file, or no network: then the licence is unknown
            return None


def find_weights(name: str, *, key: str, flag: str, download: bool) -> WeightsSource:
    """The weights that a setting names; looks at the file system only.

    Args:
        name: a local folder or file, or a hub id.
        key: key path of the setting.
        flag: its command-line flag.
        download: `models.download`.

    Raises:
        ConfigError: empty, or neither a path nor a hub id.
        InputError: a path that does not exist.
    """
    if not name.strip():
        raise ConfigError(f"{key} is empty; expected a local folder or a hub id, for example with {flag} FOLDER")
    path = Path(name).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key} is '{name[:80]}'; expected a local folder or a hub id") from error
    if exists:
        return WeightsSource(name=name, key=key, path=path, download=download)
    if _HUB_ID.fullmatch(name):
        return WeightsSource(name=name, key=key, path=None, download=download)
    raise InputError(f"{key} is a folder that does not exist; check the path: {name[:200]}")


def _front_matter_licence(text: str) -> str:
    """`license:` of the YAML block on top of a model card."""
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    values: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        field, colon, value = line.partition(":")
        if colon and field in ("license", "license_name"):
            values[field] = value.split(" #")[0].strip().strip("'\"")
    found = values.get("license", "")
    if found.lower() == "other" and values.get("license_name"):
        found = values["license_name"]
    return _SPDX.get(found.lower(), found)[:80]


def _licence_title(text: str) -> str:
    """The known licence that a text is, else its first line."""
    head = " ".join(text[:600].lower().split())
    for pattern, name in _LICENCE_TITLES:
        if re.search(pattern, head):
            return name
    return next((line.strip()[:80] for line in text.splitlines() if line.strip()), "")

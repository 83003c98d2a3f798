"""Foreign weights by the name that a setting gives them: where they lie, whether they may be fetched, which licence
they bear, and what it means when they do not load.

`weights_files` looks into the files themselves.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ..core.errors import BackendError, ConfigError, DependencyError, InputError, WorldgenError
from ..core.optional import require

_EXTRA = "models"
_MAX_CARD_BYTES = 1 << 20
_MAX_LICENCE_CHARACTERS = 120
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_TITLE_LINES = 3
_LICENCE_TITLES = tuple(
    (re.compile(rf"^(?:the )?(?:creative commons )?{pattern}", re.MULTILINE), spdx)
    for pattern, spdx in (
        (r"apache license\W+version 2", "Apache-2.0"),
        (r"mit license", "MIT"),
        (r"attribution-noncommercial-sharealike 4\.0", "CC-BY-NC-SA-4.0"),
        (r"attribution-noncommercial 4\.0", "CC-BY-NC-4.0"),
        (r"attribution-sharealike 4\.0", "CC-BY-SA-4.0"),
        (r"attribution 4\.0", "CC-BY-4.0"),
    )
)
_SPDX = {
    text.lower(): text
    for text in (
        "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0", "GPL-3.0", "LGPL-3.0", "AGPL-3.0",
    )
}  # fmt: skip
"""SPDX ids by the lower-case form that model cards use."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of weights as a setting names it."""

    given: str
    """The folder, file or hub id as it was given."""
    name: str
    """For the provenance: the hub id, or the name of the folder or file without the machine's path to it."""
    key: str
    """Key path of the setting, for messages."""
    path: Path | None
    """The local folder or file; None for a hub id that was not looked up."""
    download: bool
    """Whether a hub id that is not on this machine may be fetched."""

    @property
    def local_files_only(self) -> bool:
        return self.path is not None or not self.download

    @property
    def source(self) -> str:
        """What a library's `from_pretrained` takes."""
        return self.given if self.path is None else str(self.path)

    def expect_here(self, filename: str) -> None:
        """Refuse a hub id whose file is neither on this machine nor may be fetched.

        Raises:
            ConfigError: it is not on this machine and may not be fetched.
            DependencyError: huggingface_hub is missing.
        """
        if self.path is None and not self.download and self.cached(filename) is None:
            raise self._absent()

    def cached(self, filename: str) -> Path | None:
        """A file of a hub id in this machine's cache; asks no network."""
        hub = require("huggingface_hub", extra=_EXTRA)
        found = hub.try_to_load_from_cache(self.given, filename)
        return Path(found) if isinstance(found, str) else None

    def in_folder(self, index_name: str, *, fetch: Callable[[str], str | Path]) -> Weights:
        """The same weights with the folder that they lie in on this machine as `path`.

        Args:
            index_name: file that every such model has.
            fetch: brings the model of a hub id to this machine and returns its folder; called where that is allowed.

        Raises:
            ConfigError: a hub id is not on this machine and may not be fetched.
            InputError: the path is no folder of such a model.
            DependencyError: a package for fetching is missing.
            BackendError: fetching failed.
        """
        folder = self._brought_here(index_name, fetch) if self.path is None else self.path
        if folder.is_file():
            raise InputError(
                f"{self.key} is a file; expected a folder with {index_name} as save_pretrained makes it: {self.given}"
            )
        if not (folder / index_name).is_file():
            raise InputError(
                f"{self.key} holds no {index_name}, so it is no folder of such a model; check the path: {folder}"
            )
        return replace(self, path=folder)

    def licence(self) -> str:
        """SPDX id or short text as model card or licence file state it, else "unknown: see <model>"."""
        try:
            for path in self._notices():
                reader = _front_matter_licence if path.name == "README.md" else _licence_title
                if found := reader(_text(path)):
                    return found[:_MAX_LICENCE_CHARACTERS]
        except DependencyError:  # without a hub there is no cache to look into
            pass
        return f"unknown: see {self.name}"

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Give what foreign code raises while it loads these weights one class and the words that help.

        Raises:
            DependencyError: a package is missing.
            BackendError: the weights do not load.
        """
        try:
            yield
        except WorldgenError:
            raise
        except Exception as error:
            reason = reason_of(error)
            # Transformers reports a missing package as ImportError or as ValueError, depending on who asked for it.
            if isinstance(error, ImportError) or "missing optional dependencies" in str(error).lower():
                raise DependencyError(
                    f"{self.key} needs a package that is missing ({reason}); install it, or: "
                    f"pip install 'lyra-worldgen[{_EXTRA}]': {self.given}"
                ) from error
            if self.path is None and self.download:
                raise self._fetch_error(error, "fetched or loaded") from error
            raise BackendError(
                f"{self.key} cannot be loaded ({reason}); check that the files are complete and fit one another, copy "
                f"or fetch them again, or run again with -v for the whole message: {self.given}"
            ) from error

    def _brought_here(self, index_name: str, fetch: Callable[[str], str | Path]) -> Path:
        cached = self.cached(index_name)
        if self.download:
            try:
                return Path(fetch(self.given))
            except WorldgenError:
                raise
            except ImportError as error:
                raise DependencyError(f"{self.key} cannot be fetched: {error}") from error
            except Exception as error:
                # What was fetched earlier will do: being offline today does no harm.
                if cached is None:
                    raise self._fetch_error(error, "fetched") from error
        if cached is None:
            raise self._absent()
        return cached.parent

    def _absent(self) -> ConfigError:
        return ConfigError(
            f"{self.key} is '{self.given}', which is no folder here and not in this machine's hub cache; give a local "
            "folder, or pass --download (models.download=true) to fetch it"
        )

    def _fetch_error(self, error: BaseException, what: str) -> BackendError:
        return BackendError(
            f"{self.key} '{self.given}' cannot be {what} ({reason_of(error)}); check the name and the network, log in "
            "to the hub if the model asks for it, or give a local folder"
        )

    def _notices(self) -> Iterator[Path]:
        """Model card, then licence files; those of a hub id come from the cache or the hub."""
        if self.path is not None:
            folder = self.path if self.path.is_dir() else self.path.parent
            yield folder / "README.md"
            yield from sorted(folder.glob("LICEN[CS]E*"))
            return
        for filename in ("README.md", "LICENSE"):
            path = self.cached(filename)
            if path is None and self.download:
                path = self._fetched(filename)
            if path is not None:
                yield path

    def _fetched(self, filename: str) -> Path | None:
        hub = require("huggingface_hub", extra=_EXTRA)
        try:
            return Path(hub.hf_hub_download(self.given, filename))
        except Exception:  # a repository without this file, or no network: then the licence is unknown
            return None


def find_weights(value: str, *, key: str, flag: str, download: bool) -> Weights:
    """The weights that a setting names; looks at the file system only.

    Args:
        value: a local folder or file, or a hub id.
        key: key path of the setting.
        flag: its command-line flag.
        download: `models.download`.

    Raises:
        ConfigError: empty, or neither a path nor a hub id.
        InputError: a path that does not exist.
    """
    if not value.strip():
        raise ConfigError(f"{key} is empty; expected a local folder or a hub id, for example with {flag} FOLDER")
    try:
        path = Path(value).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{key} is '{value[:80]}'; expected a local folder or a hub id") from error
    if exists:
        return Weights(given=value, name=_name_of(path), key=key, path=path, download=download)
    if _HUB_ID.fullmatch(value):
        return Weights(given=value, name=value, key=key, path=None, download=download)
    raise InputError(f"{key} is a folder that does not exist; check the path: {value[:200]}")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep libraries from printing bars and advice to their own developers; what is wrong comes as an exception."""
    controls = [require(f"{name}.utils.logging", extra=_EXTRA) for name in ("diffusers", "transformers")]
    before = [(control, control.get_verbosity(), control.is_progress_bar_enabled()) for control in controls]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for control in controls:
            control.set_verbosity(logging.CRITICAL)
            control.disable_progress_bar()
        try:
            yield
        finally:
            for control, verbosity, bars in before:
                control.set_verbosity(verbosity)
                if bars:
                    control.enable_progress_bar()


def reason_of(error: BaseException) -> str:
    """Class and words of an error of foreign code, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(": ")


def _name_of(path: Path) -> str:
    """Name of a model by its place; one inside a hub cache is called by its hub id."""
    parts = path.absolute().parts
    for place, inside in pairwise(parts):
        if place.startswith("models--") and inside == "snapshots":
            return place.removeprefix("models--").replace("--", "/")
    return path.resolve().name


def _front_matter_licence(card: str) -> str:
    """What the YAML block on top of a model card says about the licence; empty if nothing."""
    import yaml

    front = re.match(r"\s*---\s*\n(.*?)\n---\s*(?:\n|$)", card, re.DOTALL)
    try:
        values = yaml.safe_load(front[1]) if front else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    if not isinstance(values, dict):
        return ""
    text = values.get("license")
    if text is None or str(text).lower() in ("other", "unknown"):
        text = values.get("license_name") or values.get("license_link")
    named = [" ".join(str(part).split()) for part in (text if isinstance(text, list) else [text]) if part]
    return " AND ".join(_SPDX.get(part.lower(), part) for part in named)


def _licence_title(text: str) -> str:
    """The known licence that a text is by its title, else its first line."""
    lines = [line for line in (line.strip(" #*\t") for line in text.splitlines()) if line][:_TITLE_LINES]
    head = "\n".join(lines).lower()
    return next((spdx for title, spdx in _LICENCE_TITLES if title.search(head)), lines[0] if lines else "")


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_CARD_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""

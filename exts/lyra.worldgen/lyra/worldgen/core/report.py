"""Findings: quality problems are data that travels upwards, not exceptions and not log lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .errors import WorldgenError


class Severity(str, Enum):  # noqa: UP042 Isaac Sim 4 runs Python 3.10, which has no StrEnum
    """How much a finding matters."""

    __str__ = str.__str__
    __format__ = str.__format__

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing worth telling the user about a world."""

    code: str
    """Dotted, stable, searchable: `mesh.open`, `scale.untrusted`."""
    severity: Severity
    message: str
    place: dict[str, Any] = field(default_factory=dict)
    """Where: prim path, view id, position [m]; JSON values only."""

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "severity": str(self.severity), "message": self.message, "place": self.place}


class Report:
    """An ordered list of findings that stages append to."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def info(self, code: str, message: str, **place: Any) -> None:
        self._add(code, Severity.INFO, message, place)

    def warn(self, code: str, message: str, **place: Any) -> None:
        self._add(code, Severity.WARNING, message, place)

    def error(self, code: str, message: str, **place: Any) -> None:
        self._add(code, Severity.ERROR, message, place)

    def extend(self, other: Report) -> None:
        self._findings.extend(other)

    @property
    def ok(self) -> bool:
        """True while no finding has error level."""
        return not any(f.severity is Severity.ERROR for f in self._findings)

    def raise_for_errors(self) -> None:
        """Raise `WorldgenError` that lists every finding of error level, if there is one."""
        errors = [f for f in self._findings if f.severity is Severity.ERROR]
        if errors:
            raise WorldgenError("; ".join(f"{f.code}: {f.message}" for f in errors))

    def as_list(self) -> list[dict[str, Any]]:
        return [f.as_dict() for f in self._findings]

    def _add(self, code: str, severity: Severity, message: str, place: dict[str, Any]) -> None:
        self._findings.append(Finding(code=code, severity=severity, message=message, place=place))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

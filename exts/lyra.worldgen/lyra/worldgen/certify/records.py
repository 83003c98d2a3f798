"""What a certificate is: lines with a measurement against a limit, and one verdict. `certificate.json` is format 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CERTIFICATE_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that was measured."""

    id: str
    """Dotted and stable: `drops.landed`."""
    title: str
    """What a reader wants to be true, in plain words."""
    measured: float | None
    """None when it could not be measured."""
    unit: str = ""
    limit: float | None = None
    """None for a line that only informs."""
    comparison: str = "<="
    """How `measured` compares to `limit` in a good world: `<=` or `>=`."""
    detail: str = ""
    """One or two sentences: how it was measured, what stands out, or why it was not measured."""
    picture: str = ""
    """Name of the picture that shows it, if one does."""

    @property
    def passed(self) -> bool | None:
        """None without a measurement or a limit."""
        if self.measured is None or self.limit is None:
            return None
        return self.measured <= self.limit if self.comparison == "<=" else self.measured >= self.limit

    @property
    def status(self) -> str:
        """`passed`, `failed`, `not measured` or `info`."""
        if self.limit is None:
            return "info"
        return {True: "passed", False: "failed", None: "not measured"}[self.passed]

    @property
    def margin(self) -> float:
        """How far on the good side, relative to the limit; negative when failed, inf with nothing to compare."""
        if self.measured is None or self.limit is None:
            return float("inf")
        if self.unit == "%" and self.comparison == ">=" and self.measured >= 100:
            return 1.0  # nothing is better than all, however close the limit
        gap = self.limit - self.measured if self.comparison == "<=" else self.measured - self.limit
        return gap / max(abs(self.limit), 1e-9)

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "measured": None if self.measured is None else round(float(self.measured), 5),
            "unit": self.unit,
            "limit": self.limit,
            "comparison": self.comparison,
            "passed": self.passed,
            "status": self.status,
            "detail": self.detail,
            "picture": self.picture or None,
        }


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The verdict on one world and what it rests on."""

    lines: tuple[Line, ...]
    facts: Mapping[str, Any]
    """Name, seed, areas, robot, versions: JSON values that are equal on every run."""
    drives: tuple[Mapping[str, Any], ...] = ()
    """Per driven episode: `reached`, `driven_m` and `trace_xy_m`, for whoever draws the world."""
    warnings: tuple[str, ...] = ()
    """What a user should know although nothing failed."""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    """The only values that differ between two runs on one machine."""

    @property
    def failed(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.passed is False)

    @property
    def not_measured(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.status == "not measured")

    @property
    def passed(self) -> bool:
        """True when every line with a limit was measured and holds."""
        return not self.failed and not self.not_measured

    @property
    def verdict(self) -> str:
        """`passed`, `failed`, or `incomplete` when nothing failed but something could not be measured."""
        if self.failed:
            return "failed"
        return "incomplete" if self.not_measured else "passed"

    @property
    def summary(self) -> str:
        """One sentence for a terminal: the verdict, and which lines decided it."""
        if self.failed:
            return f"not certified: {_listed(self.failed)}"
        if self.not_measured:
            return f"not certified: could not measure {_listed(self.not_measured)}"
        return f"certified: {sum(line.passed is True for line in self.lines)} checks passed"

    def worst(self, count: int = 3) -> tuple[Line, ...]:
        """Failed lines, then unmeasured ones, then those that hold with the least to spare."""
        rank = {"failed": 0, "not measured": 1, "passed": 2}
        limited = [line for line in self.lines if line.limit is not None]
        return tuple(sorted(limited, key=lambda line: (rank[line.status], line.margin, line.id))[:count])

    def as_dict(self) -> dict[str, Any]:
        """The content of `certificate.json`."""
        return {
            "format": CERTIFICATE_FORMAT,
            "passed": self.passed,
            "verdict": self.verdict,
            "summary": self.summary,
            "not_measured": [line.id for line in self.not_measured],
            "warnings": list(self.warnings),
            "facts": dict(self.facts),
            "drives": [dict(drive) for drive in self.drives],
            "lines": [line.as_dict() for line in self.lines],
            "timings": {name: round(seconds, 3) for name, seconds in self.timings_s.items()},
        }


def _listed(lines: tuple[Line, ...]) -> str:
    shown = ", ".join(line.id for line in lines[:4])
    return shown if len(lines) <= 4 else f"{shown} and {len(lines) - 4} more"

"""Findings and reports."""

from __future__ import annotations

import json

import pytest

from lyra.worldgen.core.errors import (
    BackendError,
    Cancelled,
    ConfigError,
    ConversionError,
    DependencyError,
    InputError,
    WorldgenError,
)
from lyra.worldgen.core.report import Report, Severity


def test_only_error_findings_spoil_a_report():
    """Warnings leave a report ok; an error does not, and raising names every error."""
    report = Report()
    report.info("scale.assumed", "camera height assumed")
    report.warn("mesh.open", "3 open edges", prim="/World/Visual")
    assert report.ok
    report.raise_for_errors()
    report.error("floor.missing", "no floor was found")
    report.error("world.leaks", "2 leaks")
    assert not report.ok
    with pytest.raises(WorldgenError, match=r"floor\.missing: no floor was found; world\.leaks: 2 leaks"):
        report.raise_for_errors()


def test_reports_join_in_order_and_serialise():
    """Extending keeps order; the list form is plain JSON."""
    first, second = Report(), Report()
    first.info("a.first", "1")
    second.warn("b.second", "2", view=3)
    first.extend(second)
    assert [f.code for f in first] == ["a.first", "b.second"] and len(first) == 2
    assert json.loads(json.dumps(first.as_list()))[1] == {
        "code": "b.second",
        "severity": str(Severity.WARNING),
        "message": "2",
        "place": {"view": 3},
    }


@pytest.mark.parametrize(
    ("error", "base", "code"),
    [
        (InputError, ValueError, 2),
        (ConfigError, InputError, 2),
        (DependencyError, ImportError, 3),
        (BackendError, RuntimeError, 4),
        (ConversionError, RuntimeError, 4),
        (Cancelled, WorldgenError, 130),
        (WorldgenError, Exception, 1),
    ],
)
def test_errors_carry_their_exit_code(error, base, code):
    """Each error is also the builtin a caller would expect, and knows the command's exit code."""
    assert issubclass(error, base) and issubclass(error, WorldgenError) and error.exit_code == code

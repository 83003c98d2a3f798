"""Which licence binds a work made of parts, and what it forbids."""

from __future__ import annotations

import pytest

from lyra.worldgen.core.licences import is_research_only, strictest_licence


def test_licences_combine_to_the_strictest():
    """Unknown licences outrank known ones; nothing at all means that no weights took part."""
    assert strictest_licence([]) == "none"
    assert strictest_licence(["", "none: the photo is the training set"]) == "none"
    assert strictest_licence(["MIT", "Apache-2.0", "CC0-1.0"]) == "Apache-2.0"
    assert strictest_licence(["Apache-2.0", "CC-BY-SA-4.0", "MIT"]) == "CC-BY-SA-4.0"
    assert strictest_licence(["Apache-2.0", "Research only", "NVIDIA"]) == "NVIDIA AND Research only"


@pytest.mark.parametrize(
    ("licence", "strict"),
    [
        ("NVIDIA Internal Scientific Research and Development Model License (research only, not commercial)", True),
        ("CC-BY-NC-4.0", True),
        ("Apache-2.0", False),
        ("openrail++", False),
        ("none", False),
    ],
)
def test_licences_for_research_only(licence, strict):
    """What may not be used commercially is told from what may."""
    assert is_research_only(licence) is strict

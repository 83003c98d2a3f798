"""A world in words, as the page shows it."""

from __future__ import annotations

from lyra.worldgen.explore.readout import certificate_text, plain


def test_words_are_words():
    """Text of a file is no mark-up; failed lines come first."""
    assert "<" not in plain("<img src=x onerror=alert(1)>") and plain("a*b|c") == r"a\*b\|c"
    lines = [
        {
            "id": "a",
            "title": "good",
            "status": "passed",
            "measured": 1.0,
            "limit": 2.0,
            "comparison": "<=",
            "unit": "m",
        },
        {"id": "b", "title": "<b>bad</b>", "status": "failed", "measured": 3.0, "limit": 2.0, "comparison": "<="},
        {"id": "c", "title": "unmeasured", "status": "not measured", "measured": None},
    ]
    text = certificate_text({"summary": "s", "lines": lines})
    assert text.index("bad") < text.index("unmeasured") < text.index("good") and "<b>" not in text
    assert "1 m (≤ 2)" in text and "not measured" in text
    assert "No certificate" in certificate_text({"lines": [1]})

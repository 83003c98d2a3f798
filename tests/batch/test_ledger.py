"""The manifest survives being cut anywhere, and being written to afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lyra.worldgen.batch.ledger import ItemState, Ledger

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["started", "failed", "finished", "quarantined", "released", "lost"]),
        st.sampled_from(["a", "b", "ö c"]),
    ),
    max_size=12,
)


def write(ledger: Ledger, events) -> None:
    for event, item in events:
        more = {"finished": {"values": {"passed": True}}, "failed": {"cause": 'it "broke"\n'}}.get(event, {})
        ledger.append(event, item, **more)


@settings(max_examples=60)
@given(EVENTS, st.data())
def test_a_manifest_cut_at_any_byte_is_the_manifest_of_its_whole_lines(tmp_path_factory, events, data):
    """Nothing that was cut is believed, and lines appended later are read in full."""
    folder = tmp_path_factory.mktemp("ledger")
    whole = Ledger(folder / "whole.jsonl")
    write(whole, events)
    content = whole.path.read_bytes() if whole.path.exists() else b""
    at = data.draw(st.integers(0, len(content)))
    cut, lines = Ledger(folder / "cut.jsonl"), Ledger(folder / "lines.jsonl")
    cut.path.write_bytes(content[:at])
    # A line that lacks only its end says all that it said.
    kept = content[:at].count(b"\n") + (at < len(content) and content[at : at + 1] == b"\n")
    write(lines, events[:kept])
    assert cut.replay().items == lines.replay().items
    for ledger in (cut, lines):
        ledger.append("started", "b")
    assert cut.replay().items == lines.replay().items
    assert cut.replay().items["b"].started >= 1


@given(st.binary(max_size=200))
def test_garbage_is_counted_and_passed_over(tmp_path_factory, garbage):
    """Foreign bytes between two lines change nothing."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "manifest.jsonl")
    ledger.append("started", "a")
    with open(ledger.path, "ab") as file:
        file.write(garbage)
    ledger.append("finished", "a", values={"passed": False})
    assert ledger.replay().items == {"a": ItemState(started=1, finished={"passed": False})}


def test_a_changed_line_is_not_believed(tmp_path):
    """A bit that flipped in the middle of a line takes that line out, and no other."""
    ledger = Ledger(tmp_path / "manifest.jsonl")
    write(ledger, [("started", "a"), ("finished", "a"), ("started", "b")])
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"true", b"null", 1))
    assert ledger.replay().items["a"].finished is None and ledger.replay().items["b"].started == 1
    assert ledger.replay().damaged_lines == 1


def test_a_manifest_that_cannot_be_written_says_so(tmp_path):
    """The message names the file."""
    from lyra.worldgen.core.errors import InputError

    with pytest.raises(InputError, match="manifest"):
        Ledger(tmp_path / "missing" / "manifest.jsonl").append("started", "a")

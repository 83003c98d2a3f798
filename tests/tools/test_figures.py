"""Figures of pages come from records: what counts as quoted, what backs it, what is noticed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import check_figures
from records import Record, RecordError, Table, load_record, numbers_in, shows, values_in


def record(**changed) -> Record:
    values = {"name": "r", "title": "R", "order": 1, "command": "c", "blocks": (), "transcribed": True}
    return Record(**(values | changed))


@given(value=st.floats(0.01, 9e4), digits=st.integers(0, 4))
def test_a_rounded_value_is_shown(value, digits):
    """Rounded as it is written, it is the value; a last digit off, it is another."""
    written = f"{value:.{digits}f}"
    assert shows(written, [value])
    off = f"{float(written) + 2 * 10**-digits:.{digits}f}"
    assert not shows(off, [value]) or shows(off, [100 * value])


def test_shares_are_shown_as_percent():
    assert shows("97.5", [0.9746])
    assert not shows("97.5", [0.976])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("takes 12.5 s and 1,505 MiB", [("12.5", "s"), ("1505", "MiB")]),
        ("a 2-minute walk, 3 of 4 worlds, in 2026", []),
        ("`--limit 30 s` and [20 s](page-40 s)", [("20", "s")]),
        ("```\n12 s\n```\n", []),
        ("| 79 % | 3.2 dB |", [("79", "%"), ("3.2", "dB")]),
        ("24 GB of memory, 1.8x faster, 5 cm", [("24", "GB"), ("1.8", "x"), ("5", "cm")]),
    ],
)
def test_what_counts_as_quoted(text, found):
    """Numbers with a unit, outside of code and links."""
    assert [pair for pair in check_figures.quoted(text) if pair[1] != "times"] == found


def test_a_number_without_a_record_is_noticed():
    """A table, a named figure or a stated setting backs it; another digit or another unit does not."""
    table = Table(columns=("photo", "wall [s]"), align="lr", rows=(("lobby", "62.4"),))
    known = [record(blocks=("in 9.1 s", table), figures={"45.5 dB": "of the page"})]
    text = "lobby 62.4 s, 9.1 s, 45.5 dB, limit 30 s, today 62 s, 9.1 m, 9.1 min"
    assert check_figures.unbacked(text, known, {"30 s"}) == ["62 s", "9.1 min"]


def test_a_page_quotes_what_is_meant_for_it():
    """Its own records and those of sections that it links to; no other record that has the number."""
    own, shown, other = (
        record(name="own", page="a.md"),
        record(name="shown", title="Drops, in PhysX"),
        record(name="other", page="b.md"),
    )
    text = "as [measured](benchmarks.md#drops-in-physx)"
    assert check_figures.meant_for("a.md", text, [own, shown, other]) == [own, shown]
    assert check_figures.meant_for("a.md", "see [all](benchmarks.md)", [own, shown, other]) == [own]
    assert check_figures.meant_for("a.md", "see [there](b.md), [too](docs/b.md)", [own, shown, other]) == [own]
    assert check_figures.meant_for("a.md", "see [there](docs/b.md#runs)", [own, shown, other]) == [own, other]
    assert check_figures.meant_for("benchmarks.md", "", [own, shown, other]) == [own, shown, other]


def test_a_cell_that_the_result_does_not_have_is_noticed():
    """First cells are names; a record without a result was transcribed and says so."""
    table = Table(columns=("seed 7", "dB"), align="lr", rows=(("7", "31.25"), ("8", "30.0")))
    assert check_figures.unshown(record(blocks=(table,))) == []
    assert check_figures.unshown(record(blocks=(table,), result={"rows": [{"psnr": 31.2461}]})) == ["30.0"]


def test_sections_of_pages_are_made():
    """What stands between the marks is the record's, whatever stood there."""
    made = record(name="drift", blocks=("new",))
    text = "before\n<!-- record: drift -->\n\nold\n\n<!-- end of record -->\nafter"
    assert check_figures.with_sections(text, {"drift": made}) == text.replace("old", "new")
    with pytest.raises(RecordError, match="no record is called drift"):
        check_figures.with_sections(text, {})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"blocks": [{"columns": ["a", "b"], "align": "lr", "rows": [["1"]]}]}, "as many cells"),
        ({"transcribed": False}, "does not say that it was transcribed"),
        ({"command": "see the page"}, "names no command"),
        ({"title": None, "order": None, "blocks": 3}, "see tools/records.py"),
    ],
)
def test_a_bad_record_is_refused(tmp_path, changed, says):
    """With its name and what is wrong."""
    values = {"order": 1, "title": "T", "command": "tools/x.py", "transcribed": True, "blocks": ["text"]}
    (tmp_path / "bad.json").write_text(json.dumps(values | changed))
    with pytest.raises(RecordError, match=says):
        load_record(tmp_path / "bad.json")


def test_values_of_a_result():
    """Numbers, and those inside of texts; truth values and what is not finite are none."""
    assert sorted(values_in({"a": [1, "2.5 s"], "b": True, "c": float("nan"), "d": None})) == [1.0, 2.5]
    assert numbers_in("1,505 MiB at −3.5 dB") == ["1505", "3.5"]


def test_a_command_becomes_a_record(repository, tmp_path, monkeypatch):
    """What it printed last is the result; title and blocks that are there stay."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import record as script

    monkeypatch.setattr(script, "FOLDER", tmp_path)
    kept = {"order": 5, "title": "Toy", "transcribed": True, "blocks": ["4.2 s"]}
    (tmp_path / "toy.json").write_text(json.dumps(kept))
    print_json = "print('progress'); print('{\"seconds\": 4.2}')"
    monkeypatch.setattr(sys, "argv", ["record.py", "toy", "--seed", "3", "--", sys.executable, "-c", print_json])
    assert script.main() == 0
    made = json.loads((tmp_path / "toy.json").read_text())
    assert made["result"] == {"seconds": 4.2} and made["title"] == "Toy" and "transcribed" not in made
    assert made["measured"]["seed"] == 3 and made["measured"]["machine"]["cores"] >= 1
    assert made["measured"]["peak_mib"] > 1 and made["measured"]["wall_s"] >= made["measured"]["cpu_s"] - 0.1
    assert load_record(tmp_path / "toy.json").blocks == ("4.2 s",)
    monkeypatch.setattr(sys, "argv", ["record.py", "toy", "--", sys.executable, "-c", "print('no')"])
    assert script.main() == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{\n "a": 1\n}\n', {"a": 1}),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('a table\n\n{"a": 1}\n', {"a": 1}),
    ],
)
def test_what_a_command_printed(repository, monkeypatch, text, value):
    """All of it, its lines, or its last line."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import record as script

    assert script.printed_json(text) == value


def test_a_command_names_no_place_of_this_machine(repository, monkeypatch):
    """As it is typed in the checkout."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "bench"))
    import record as script

    command = ["/somewhere/.venv/bin/python", f"{repository}/tools/x.py", "--out", "/tmp/o 1", "--a=/b/c", "--n=3", ""]
    assert script.portable(command) == ".venv/bin/python tools/x.py --out 'o 1' --a=c --n=3 ''"


def test_the_pages_say_what_the_records_say(repository):
    """Of this checkout: nothing quoted that was not recorded or stated."""
    done = subprocess.run(
        [sys.executable, repository / "tools" / "check_figures.py"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

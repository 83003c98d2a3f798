"""Figures that pages quote are those of the records in docs/benchmarks, and the benchmark page is made of them.

python tools/check_figures.py [--write]      --write makes the page and the sections of other pages anew

A number with a unit (s, ms, min, %, dB, MiB, GiB, GB, MB, mm, cm, x, times, steps/s) in the text of README.md or of a
page in docs/ must stand in a record that is meant for it: one of its own, or one whose section of the benchmark page
it links to, or one of another page of which it links to a section. What was chosen and not measured, a setting, a
limit, a size, stands in `docs/benchmarks/stated.json`. Code and links are not looked at.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from check_files import ROOT
from records import FOLDER, STATED, Record, RecordError, load_records, numbers_in, shows, values_in

PAGE = "benchmarks.md"
GALLERY = "gallery.md"
"""Made of certificates by tools/site/gallery.py."""
UNIT = (
    r"(?:ms|min|s|h|%|dB|[KMG]i?B|mm|cm|x(?!\s*\d)|times|steps|"
    r"frames|core[- ]minutes?|CPU[- ](?:s|min(?:utes)?|seconds))"
)
QUOTED = re.compile(rf"(?<![\w.,/=:-])(\d[\d,]*(?:\.\d+)?)(?:\s|&nbsp;|-)?({UNIT})(?![\w])")
NOT_TEXT = re.compile(r"^```.*?^```\s*$|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"(<!-- record: ([\w-]+) -->\n).*?(<!-- end of record -->)", re.DOTALL)
LINKED = re.compile(r"([\w-]+\.md)#([\w-]+)")
MADE = "<!-- Made by tools/check_figures.py --write from docs/benchmarks/*.json: change those. -->\n"
HEAD = (
    "# Benchmarks\n\n"
    "Figures of one machine, each with the command that measures it again: 2 cores of an x86-64 server, 24 GB, no GPU. "
    "Compare ratios, not seconds, with another machine. Nothing here was measured on a GPU. "
    "Every section is made of a file in `docs/benchmarks`, which has the machine, the versions and, where it was kept, "
    "what the command printed.\n"
)


def benchmark_page(records: list[Record]) -> str:
    """The whole page."""
    parts = [MADE + HEAD]
    parts += [f"## {record.title}\n\n{record.markdown()}\n" for record in records if not record.page]
    return "\n".join(parts)


def with_sections(text: str, records: dict[str, Record]) -> str:
    """A page whose marked sections are those of the records; raises `RecordError` for a mark without a record."""

    def section(match: re.Match[str]) -> str:
        if match[2] not in records:
            raise RecordError(f"no record is called {match[2]}")
        return f"{match[1]}\n{records[match[2]].markdown()}\n\n{match[3]}"

    return SECTION.sub(section, text)


def quoted(text: str) -> list[tuple[str, str]]:
    """(number, unit) of everything in a page's text that looks measured."""
    return [(number.replace(",", ""), unit) for number, unit in QUOTED.findall(NOT_TEXT.sub(" ", text))]


def meant_for(page: str, text: str, records: list[Record]) -> list[Record]:
    """Records that a page may quote: all for the benchmark page, else its own and the sections that it links to."""
    if page == PAGE:
        return records
    linked = set(LINKED.findall(text))
    pages_linked = {page, *(other for other, _ in linked)}
    return [
        record
        for record in records
        if (record.page in pages_linked if record.page else (PAGE, record.anchor) in linked)
    ]


def unbacked(text: str, records: list[Record], stated: set[str]) -> list[str]:
    """Quotes of a page, `12.5 dB`, that neither these records show nor the list of stated numbers has.

    Units count but for the cells of tables, whose units stand in the head.
    """
    cells = {n for record in records for cell in cells_of(record) for n in numbers_in(cell)}
    said = [part for record in records for part in (*record.figures, *record.blocks) if isinstance(part, str)]
    known = {*stated, *(f"{number} {unit}" for part in said for number, unit in quoted(part))}
    found = dict.fromkeys((number, f"{number} {unit}") for number, unit in quoted(text))
    return [quote for number, quote in found if number not in cells and quote not in known]


def cells_of(record: Record) -> list[str]:
    """All cells of a record's tables, the names in their first column included."""
    return [cell for block in record.blocks if not isinstance(block, str) for row in block.rows for cell in row]


def unshown(record: Record) -> list[str]:
    """Numbers in the tables of a record that its result does not have."""
    if record.result is None:
        return []
    values = [*values_in(record.result), *values_in(record.measured)]
    cells = [cell for block in record.blocks if not isinstance(block, str) for row in block.rows for cell in row[1:]]
    return [number for cell in cells for number in numbers_in(cell) if not shows(number, values)]


def pages() -> list[Path]:
    chapters = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != GALLERY]
    return [ROOT / "README.md", *chapters]


def problems(*, write: bool) -> list[str]:
    """Everything that is wrong, a line each; with `write`, pages are made anew first."""
    try:
        records = load_records()
        by_name = {record.name: record for record in records}
        made = {ROOT / "docs" / PAGE: benchmark_page(records)}
        made |= {
            page: with_sections(page.read_text(encoding="utf-8"), by_name) for page in pages() if page.name != PAGE
        }
    except RecordError as error:
        return [str(error)]
    found = []
    for page, text in made.items():
        if write:
            page.write_text(text, encoding="utf-8")
        elif page.read_text(encoding="utf-8") != text:
            found.append(f"{page.relative_to(ROOT)} is not what its records say: tools/check_figures.py --write")
    stated = json.loads((FOLDER / STATED).read_text(encoding="utf-8"))
    for page, text in made.items():
        name = page.relative_to(ROOT).as_posix()
        lost = unbacked(text, meant_for(page.name, text, records), set(stated.get(name, [])))
        found += [
            f"{name}: {quote} stands in no record of this page, in no section that it links to, and is not stated in "
            f"docs/benchmarks/{STATED}"
            for quote in lost
        ]
    for record in records:
        lost = dict.fromkeys(unshown(record))
        found += [f"docs/benchmarks/{record.name}.json: a table shows {n}, its result does not" for n in lost]
    return found


def main() -> int:
    found = problems(write="--write" in sys.argv[1:])
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

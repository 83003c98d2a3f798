"""viser's page with three things changed: photos can be dropped anywhere on it, splats draw without an error, and
textures that are light already are shown as they are.

The page of viser is one file that unpacks its own program. What is added stands before that program, and works on the
text of it; a page of another version, in which a mark is missing, stays without what hangs on the mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.optional import require

PROGRAM = "td.decode(heap.subarray(up+ss,up+sz))"
"""Where the page has unpacked its program and is about to run it."""
HEAD = "<head>"
ADDED = """<script>
// Splats are drawn on a square whose corners have two coordinates; three.js looks for three and complains.
// A photo's texture has its light in it: materials without lights keep out of the tone mapping, too.
globalThis.lyraProgram = (text) => text.replace(
  /new Float32Array\\(\\[-2,-2,2,-2,2,2,-2,2\\]\\),2\\)/, "new Float32Array([-2,-2,0,2,-2,0,2,2,0,-2,2,0]),3)"
).replace(
  /(extendParams\\((\\w+),\\w+,\\w+\\)\\{let \\w+=\\[\\];)(\\2\\.color=new)/, "$1$2.toneMapped=!1,$3");
// A file that is dropped takes the way of one that is chosen with the button.
addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) event.preventDefault(); });
addEventListener("drop", (event) => {
  const files = event.dataTransfer.files, input = document.querySelector("input[type=file]");
  if (!files.length) return;
  event.preventDefault();
  if (!input) return;
  const one = new DataTransfer();
  one.items.add(files[0]);
  input.files = one.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
</script>"""


def write_page(folder: Path) -> Path:
    """Write the page into an existing folder, which is returned."""
    viser = require("viser", extra="explore")
    html = (Path(str(viser.__file__)).parent / "client" / "build" / "index.html").read_text(encoding="utf-8")
    (folder / "index.html").write_text(with_additions(html), encoding="utf-8")
    return folder


def with_additions(html: str) -> str:
    """A page of viser's with what is added."""
    html = html.replace(PROGRAM, f"(globalThis.lyraProgram||(text=>text))({PROGRAM})", 1)
    return html.replace(HEAD, HEAD + ADDED, 1)


@contextmanager
def served_from(folder: Path) -> Iterator[None]:
    """Have viser servers that start in the block serve the files of a folder; viser has no argument for that."""
    server: Any = require("viser.infra", extra="explore").WebsockServer
    start = server.start

    def start_here(self: Any) -> None:
        self._http_server_root = folder
        start(self)

    server.start = start_here
    try:
        yield
    finally:
        server.start = start

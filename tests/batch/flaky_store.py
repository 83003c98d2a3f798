"""A network store on the local disk: one write in ten fails, sometimes halfway."""

from __future__ import annotations

import os
import random
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem


class FlakyFileSystem(LocalFileSystem):
    """`flaky:///path`; failures differ from process to process, or follow `dice` once it is seeded."""

    protocol = "flaky"
    cachable = False
    dice = random.Random(os.getpid())
    failed = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("flaky://"))

    def open(self, path, mode="rb", **options):
        file = super().open(path, mode, **options)
        if "w" in mode and self.dice.random() < 0.1:
            type(self).failed += 1
            file.write(b"half")
            file.close()
            raise ConnectionResetError("the network went away")
        return file


def announce(site: Path) -> None:
    """Write what makes `flaky://` known to every Python that has `site` and this folder on its path."""
    info = site / "flaky_store-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flaky_store\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fsspec.specs]\nflaky = flaky_store:FlakyFileSystem\n")

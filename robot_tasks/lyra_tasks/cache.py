"""Where files are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "LYRA_TASKS_CACHE"
"""Environment variable that moves the folder."""


def cache_folder() -> Path:
    """Of written robots and merged splats; whoever writes there makes it."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "lyra_tasks")

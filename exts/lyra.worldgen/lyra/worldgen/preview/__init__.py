"""Pictures of a finished world for people: contact sheet, walkthrough film, thumbnail."""

from __future__ import annotations

from .run import write_preview as write_preview

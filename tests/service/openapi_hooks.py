"""What schemathesis cannot know: bytes that are a photo, a path, captions or a scene, and bytes that are none."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from service_client import picture, trajectory

UPLOADS = [picture(), picture(kind="JPEG"), picture(kind="WEBP"), trajectory(3), b'{"0": "a hall"}', b"[" * 5000]
UPLOADS.append(b"ply\nformat ascii 1.0\nelement vertex 1\nend_header\n")

schemathesis.openapi.media_type(
    "application/octet-stream", st.sampled_from(UPLOADS) | st.binary(min_size=1, max_size=64)
)

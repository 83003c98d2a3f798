"""Lyra 2.0: the video model that continues a world chunk by chunk (our notes, section 3)."""

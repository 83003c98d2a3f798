"""Lyra 2.0 itself: its networks, what they are sampled with, and the files they come in."""

"""Robots that need no download."""

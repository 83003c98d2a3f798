"""Smoke tests that run inside Kit (`omni.kit.test`); all that needs no Kit is tested in the repository's tests/kit."""

scan_for_test_modules = True

"""Helpers and programs of the tests that run real input."""

import pytest


def need(name):
    """Import and return a module that the tests need; skip without it."""
    return pytest.importorskip(name, exc_type=ImportError)

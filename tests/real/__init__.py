"""Helpers and programs of the tests that run real input."""

import importlib
import os

import pytest

MUST_WORK = os.environ.get("CSANDBOX_MUST_WORK") == "1"


def skip(reason):
    """Skip the test or module, or fail where nothing may be skipped."""
    if MUST_WORK:
        raise RuntimeError(f"CSANDBOX_MUST_WORK=1, and yet: {reason}")
    pytest.skip(reason, allow_module_level=True)


def need(name):
    """Import and return a module that the tests need; skip without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        skip(f"{name} cannot be imported: {error}")

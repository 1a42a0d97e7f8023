"""Fixtures for plugins' tests. Nothing loads this by itself: ``pytest_plugins = ["torch2grid_core.testing.pytest_plugin"]``
in a ``conftest.py``, or import the fixture."""

from __future__ import annotations

import pytest

from torch2grid_core._plugins.manager import PluginManager


@pytest.fixture
def isolated_manager() -> PluginManager:
    """A manager that knows no plugin, whatever is installed: ``isolated_manager.register(my_plugin_module)``."""
    return PluginManager()

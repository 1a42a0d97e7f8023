"""Options of a plugin as a whole."""

from __future__ import annotations

from typing import ClassVar


class PluginSettings:
    """Options beside those of a plugin's classes. A subclass is a frozen dataclass, each field with a default and a help text.

    A field is ``--NAME-FIELD`` on the command line, ``NAME_FIELD`` in a settings file and for Python, and
    ``TORCH2GRID_NAME_FIELD`` in the environment. Views and rules read them with ``run.options(MySettings)``.
    """

    name: ClassVar[str]

"""Commands: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from typing import Any

import click
from tests.support.testing.broken.registry import breaks

from torch2grid_core import (
    Command,
)


class GoodCommand(Command):
    """greet"""

    name = "toy"

    def build(self) -> click.Command:
        return click.Command(self.name, callback=lambda loud: click.echo("HELLO" if loud else "hello"), params=self.params())

    def params(self) -> list[click.Parameter]:
        return [click.Option(["--loud"], is_flag=True, help="Shout.")]


class Greet(GoodCommand):
    """greet"""

    def build(self) -> click.Command:
        command = super().build()
        command.help = "Greet whoever reads this."
        return command


@breaks("command", "builds_its_command")
class BuildsAFunction(Greet):
    """no click command"""

    def build(self) -> Any:
        return lambda: None


@breaks("command", "helps")
class NoHelpAtAll(GoodCommand):
    """has no help"""


@breaks("command", "wrong_usage_is_refused")
class TakesAnything(Greet):
    """ignores what it does not know"""

    def build(self) -> click.Command:
        command = super().build()
        command.ignore_unknown_options = command.allow_extra_args = True
        command.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        return command

"""A command: ``torch2grid count MODEL``."""

from __future__ import annotations

import click
from torch2grid_core import Command, PluginManager
from torch2grid_core.text import visible


class Count(Command):
    """count the weights of a checkpoint"""

    name = "count"

    def build(self) -> click.Command:
        @click.command(self.name, help="How many weights each tensor of MODEL has.")
        @click.argument("model")
        @click.option("--total", is_flag=True, help="The total only.")
        @click.pass_obj
        def run(manager: PluginManager, model: str, total: bool) -> None:
            checkpoint = manager.open(model)
            for name, tensor in () if total else checkpoint.items():
                click.echo(f"{tensor.size:>14,}  {visible(name)}")
            click.echo(f"{checkpoint.parameters:>14,}  in all")

        return run

"""What a command promises: a click command of its name, with help."""

from __future__ import annotations

from typing import Any

from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core.testing._checking import check
from torch2grid_core.testing._expectation import expect
from torch2grid_core.testing._subject import Subject


def _built(subject: Subject) -> Any:
    import click

    command = subject.make().build()
    expect(isinstance(command, click.Command), f"build returned {type(command).__name__}, not a click command")
    return command


def _invoked(subject: Subject, *words: str) -> Any:
    from click.testing import CliRunner

    return CliRunner().invoke(_built(subject), list(words), prog_name=subject.name, obj=PluginManager())


@check("command")
def builds_its_command(subject: Subject) -> None:
    """build returns a click command of the name under which it is called, a new one each time."""
    command = _built(subject)
    expect(command.name == subject.name, f"the command is named {command.name!r}, it is called as {subject.name!r}")
    expect(_built(subject) is not command, "build returns the same object twice; click commands are changed by use")


@check("command")
def helps(subject: Subject) -> None:
    """--help says what the command does and what each option is for, and exits with 0."""
    result = _invoked(subject, "--help")
    expect(result.exit_code == 0, f"--help exits with {result.exit_code}: {result.output.strip()[-200:]}")
    command = _built(subject)
    expect((command.help or command.short_help or "").strip(), "the command has no help")
    for each in command.params:
        if each.param_type_name == "option" and not getattr(each, "hidden", False):
            expect(getattr(each, "help", None), f"option {'/'.join(each.opts)} has no help")


@check("command")
def wrong_usage_is_refused(subject: Subject) -> None:
    """An unknown option exits with 2."""
    result = _invoked(subject, "--no-such-option-exists")
    expect(result.exit_code == 2, f"an unknown option exits with {result.exit_code}")

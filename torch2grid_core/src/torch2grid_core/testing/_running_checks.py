"""What executors, commands and settings promise: what a run itself is given."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch2grid_core._engine.measuring import measure
from torch2grid_core._errors import LoadError
from torch2grid_core._guard import returned
from torch2grid_core._measures.figures import Largest, Summary
from torch2grid_core._measures.need import Need
from torch2grid_core._methods import no_settings
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import options_of, wrong_setting
from torch2grid_core.testing._samples import sample_checkpoints
from torch2grid_core.testing._subject import Subject, check, expect

_SECONDS = 120

_NEEDS: dict[str, Need[Any]] = {"summary": Summary(), "largest": Largest(3)}  # small summaries alone would not travel


@contextmanager
def _opened(subject: Subject) -> Iterator[list[AbstractContextManager[Executor]]]:
    """One for each address that *files* gives, an empty one without it; none is entered yet."""
    if subject.files is None:
        yield [_context(subject, "")]
        return
    with subject.made("addresses") as addresses:
        yield [_context(subject, address) for address in addresses]


def _context(subject: Subject, address: str) -> AbstractContextManager[Executor]:
    found = subject.make().open(address, 2)
    expect(isinstance(found, AbstractContextManager), returned("open", found, "a context manager, as every Executor is"))
    return found  # type: ignore[no-any-return]


def _double(number: int) -> int:
    return 2 * number


def _refuse(name: str) -> None:
    raise LoadError(name, "is refused", "do nothing")


@check("executor")
def work_is_done(subject: Subject) -> None:
    """open gives a context of an Executor; what is submitted is done, and each future has its own result."""
    with _opened(subject) as contexts:
        for context in contexts:
            with context as executor:
                expect(isinstance(executor, Executor), f"open gives {type(executor).__name__}, not an Executor")
                futures = [executor.submit(_double, number) for number in range(20)]
                found = [future.result(_SECONDS) for future in futures]
                expect(found == [2 * number for number in range(20)], f"doubles of 0 to 19 are {found}")


@check("executor")
def errors_come_back(subject: Subject) -> None:
    """What the work raises is raised by its future, of the same class and text, and the executor goes on."""
    with _opened(subject) as contexts:
        for context in contexts:
            with context as executor:
                error = executor.submit(_refuse, "x").exception(_SECONDS)
                expect(type(error) is LoadError and str(error) == "x: is refused; do nothing", f"a LoadError became {error!r}")
                expect(executor.submit(_double, 4).result(_SECONDS) == 8, "after an error, nothing is done")


@check("executor")
def digits_are_those_of_one_worker(subject: Subject) -> None:
    """What is measured over it has the digits of one process."""
    with _opened(subject) as contexts:
        for context in contexts:
            with context as executor:
                for about in ("ordinary", "dtypes", "not_finite"):
                    checkpoint, needs = (sample_checkpoints()[about], _NEEDS)  # small summaries alone would not travel
                    alone, found = (
                        [(key, str(each["summary"].mean), str(each["summary"].std)) for key, each in measured]
                        for measured in (measure(checkpoint, needs), measure(checkpoint, needs, executor=executor))
                    )
                    expect(found == alone, f"{about}: the results differ from those of one process")


@check("executor")
def it_ends_with_its_context(subject: Subject) -> None:
    """After its context nothing more is taken, and another one can be opened."""
    for _ in range(2):
        with _opened(subject) as contexts:
            for context in contexts:
                with context as executor:
                    executor.submit(_double, 1).result(_SECONDS)
                try:
                    executor.submit(_double, 1)
                except Exception:
                    continue
                expect(False, "work is taken after the context has ended")


def _built(subject: Subject) -> Any:
    import click

    command = subject.make().build()
    expect(isinstance(command, click.Command), returned("build", command, "a click command"))
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


def _expect_dataclass(subject: Subject) -> None:
    wrong = no_settings(subject.cls)
    expect(not wrong, wrong)


@check("settings")
def is_a_value(subject: Subject) -> None:
    """The class is a frozen dataclass, whose instances are equal where their fields are, here and in a worker."""
    _expect_dataclass(subject)
    frozen = subject.cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    expect(frozen, f"{subject.cls.__name__} is not frozen: write @dataclass(frozen=True) above it")
    instance = subject.make()
    expect(pickle.loads(pickle.dumps(instance)) == instance == subject.make(), "two instances with one value differ")


@check("settings")
def defaults_are_options(subject: Subject) -> None:
    """Each default is of the type of its field, so that a run has an option for it."""
    for option in options_of(subject.cls).values():
        wrong = wrong_setting(option)
        expect(not wrong, f"field {option.name!r} of {subject.cls.__name__} {wrong}")


@check("settings")
def has_options(subject: Subject) -> None:
    """There is something to set."""
    _expect_dataclass(subject)
    expect(len(dataclasses.fields(subject.cls)) > 0, "it has no field, so there is nothing to set")

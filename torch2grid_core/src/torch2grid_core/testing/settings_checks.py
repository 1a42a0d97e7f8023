"""What the settings of a plugin promise."""

from __future__ import annotations

import dataclasses
import pickle

from torch2grid_core.testing.checking import check
from torch2grid_core.testing.expectation import expect
from torch2grid_core.testing.subject import Subject


@check("settings")
def is_a_value(subject: Subject) -> None:
    """The class is a frozen dataclass, whose instances are equal where their fields are, here and in a worker."""
    frozen = dataclasses.is_dataclass(subject.cls) and subject.cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    expect(frozen, f"{subject.cls.__name__} is not a frozen dataclass")
    instance = subject.make()
    expect(pickle.loads(pickle.dumps(instance)) == instance == subject.make(), "two instances with one value differ")


@check("settings")
def has_options(subject: Subject) -> None:
    """There is an option, and a name that makes a flag with it: letters, digits and underscores."""
    names = [subject.make().name, *(each.name for each in dataclasses.fields(subject.cls))]  # type: ignore[arg-type]
    expect(len(names) > 1, "it has no field, so there is nothing to set")
    expect(all(name.replace("-", "_").isidentifier() for name in names), f"{names[0]!r} makes no flag")

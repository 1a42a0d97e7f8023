"""What the settings of a plugin promise."""

from __future__ import annotations

import dataclasses
import pickle

from torch2grid_core.testing._checking import check
from torch2grid_core.testing._expectation import expect
from torch2grid_core.testing._subject import Subject


@check("settings")
def is_a_value(subject: Subject) -> None:
    """The class is a frozen dataclass, whose instances are equal where their fields are, here and in a worker."""
    frozen = dataclasses.is_dataclass(subject.cls) and subject.cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    expect(frozen, f"{subject.cls.__name__} is not a frozen dataclass")
    instance = subject.make()
    expect(pickle.loads(pickle.dumps(instance)) == instance == subject.make(), "two instances with one value differ")


@check("settings")
def has_options(subject: Subject) -> None:
    """There is something to set."""
    expect(len(dataclasses.fields(subject.cls)) > 0, "it has no field, so there is nothing to set")


@check("settings")
def makes_flags(subject: Subject) -> None:
    """Its name is of letters, digits and underscores, so that it makes a flag with each field."""
    name = str(subject.make().name)
    expect(name.isidentifier(), f"{name!r} makes no flag")

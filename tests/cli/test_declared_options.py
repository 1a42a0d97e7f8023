"""The options of the drawing command beside the settings of a run: declared without numpy, only this keeps them equal."""

from __future__ import annotations

import dataclasses
from typing import get_args

import click

from torch2grid_core import REDUCTIONS, ScaleKind, Settings
from torch2grid_core.cli.options import drawing_options

OPTIONS = {option.key: option for option in drawing_options()}


def choices(key: str) -> tuple[str, ...]:
    declared = OPTIONS[key].type
    assert isinstance(declared, click.Choice)
    return tuple(declared.choices)


def test_choices_are_those_that_a_run_takes() -> None:
    assert choices("reduce") == REDUCTIONS
    assert choices("scale") == get_args(ScaleKind)


def test_defaults_are_those_of_a_run() -> None:
    given = {
        each.name: each.default for each in dataclasses.fields(Settings) if each.name in OPTIONS and each.default is not None
    }
    assert sorted(given) == ["clip", "max_cells", "reduce", "scale", "threshold", "title"]
    assert {key: OPTIONS[key].default for key in given} == given

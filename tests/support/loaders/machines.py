"""What the tests of the pickle machine share: reading a pickle whole."""

from __future__ import annotations

from typing import Any

from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_core.sources import BytesStorage


def machine(data: bytes) -> Machine:
    """A machine over *data* that gives each persistent id back."""
    return Interpreter(PickleStream(BytesStorage(data)), CONSTRUCTORS, lambda saved: ("stored", saved))


def load(data: bytes) -> Any:
    """The value; the machine must have taken every byte."""
    reader = machine(data)
    value = reader.load()
    assert reader.stream.tell() == len(data)
    return value

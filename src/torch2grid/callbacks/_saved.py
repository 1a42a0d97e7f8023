"""What is done with a checkpoint that was just saved."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from torch2grid_core import Torch2GridError

if TYPE_CHECKING:
    from torch2grid._checking import CheckResult


class CheckFailed(RuntimeError):
    """A checkpoint has an error. result: everything that was found in it."""

    def __init__(self, path: str, result: CheckResult) -> None:
        super().__init__(f"{path}: {result.verdict}\n{result}")
        self.path, self.result = path, result


class Saved:
    """Checks a checkpoint, and warns of errors and warnings; of notes alone it says nothing.

    Args:
        stop: Raise ``CheckFailed`` for an error, which ends the training; warn of it otherwise.
        found: Called with the path and the result of each checkpoint that has an error or a warning.
        options: See ``torch2grid.check``: ``select``, ``ignore``, ``rule``, ``expect`` …
    """

    def __init__(self, stop: bool = False, found: Callable[[str, CheckResult], object] | None = None, **options: Any) -> None:
        self.stop, self.found, self.options = stop, found, options

    def __call__(self, path: str | PathLike[str]) -> CheckResult | None:
        """What was found in the checkpoint at *path*; ``None`` where it cannot be read, which is a warning.

        Raises ``CheckFailed``.
        """
        import torch2grid

        place = fspath(path)
        try:
            result = torch2grid.check(place, **self.options)
        except Torch2GridError as error:
            warnings.warn(f"torch2grid: {error}", RuntimeWarning, stacklevel=3)
            return None
        if result.errors or result.warnings:
            if self.found is not None:
                self.found(place, result)
            if self.stop and result.errors:
                raise CheckFailed(place, result)
            warnings.warn(f"torch2grid: {place}: {result.verdict}\n{result}", RuntimeWarning, stacklevel=3)
        return result

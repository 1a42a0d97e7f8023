"""Hugging Face's Trainer: ``Trainer(…, callbacks=[CheckSaved(stop=True)])``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from torch2grid.callbacks._saved import Saved

if TYPE_CHECKING:
    from torch2grid._checking import CheckResult

__all__ = ["CheckSaved"]


class CheckSaved(TrainerCallback):  # type: ignore[misc]  # transformers has no types where it is not installed
    """Checks each checkpoint that the Trainer saves. See ``Saved`` for the arguments."""

    def __init__(self, stop: bool = False, found: Callable[[str, CheckResult], object] | None = None, **options: Any) -> None:
        self._saved = Saved(stop, found, **options)

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Check what was saved, on the process that saved it."""
        if state.is_world_process_zero:
            self._saved(os.path.join(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"))

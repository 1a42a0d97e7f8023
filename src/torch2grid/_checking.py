"""The linter from Python."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from torch2grid._frames import frame_of, index_text
from torch2grid._session import DRAWS_NOTHING, as_checkpoint, choosing, manager, settings_from
from torch2grid_core import Checkpoint, PluginError, Rule, UsageError
from torch2grid_core.commands import Found, choose_rules
from torch2grid_core.pages import Table

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from os import PathLike

    from torch2grid._keywords import Filters, Named, Patterns, Positions
    from torch2grid_builtin.checking import Checked


class CheckResult(Sequence[Found]):
    """What ``check`` found: the findings, rule by rule. ``str()`` is the report that the command prints.

    checkpoint: what was looked at, under full names: ``checkpoint[found.tensor][found.index]`` is the weight.
    """

    def __init__(self, checked: Checked, checkpoint: Checkpoint, rules: Sequence[Rule]) -> None:
        self._checked, self.checkpoint, self._rules = checked, checkpoint, tuple(rules)

    @overload
    def __getitem__(self, index: int) -> Found: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Found]: ...
    def __getitem__(self, index: int | slice) -> Found | Sequence[Found]:
        return self._checked.found[index]

    def __len__(self) -> int:
        return len(self._checked.found)

    def __repr__(self) -> str:
        return f"<CheckResult of {self.checkpoint.source!r}: {self.verdict}>"

    def __str__(self) -> str:
        from torch2grid_builtin.checking import as_text

        return as_text([self._checked], self._rules, "error").rstrip("\n") or f"{self._checked.model}: {self.verdict}"

    def _repr_html_(self) -> str | None:
        return self.table._repr_html_() if self else None

    @property
    def errors(self) -> int:
        """Findings that are errors."""
        return self._checked.count("error")

    @property
    def warnings(self) -> int:
        """Findings that are warnings."""
        return self._checked.count("warning")

    @property
    def notes(self) -> int:
        """Findings that are remarks: of what a healthy model may have, too."""
        return self._checked.count("note")

    @property
    def verdict(self) -> str:
        """``2 errors, 1 warning, 1 note``, or how much was looked at where nothing was found."""
        return self._checked.verdict

    @property
    def failed(self) -> Mapping[str, str]:
        """Code → error of each rule that failed itself; what the others found is there all the same."""
        return self._checked.broken

    @property
    def clean(self) -> bool:
        """True where nothing was found, and no rule failed."""
        return not self and not self.failed

    @property
    def table(self) -> Table:
        """A row for each finding."""
        columns = ("code", "rule", "severity", "part", "tensor", "index", "message")
        rows = [
            (each.code, each.rule, each.severity, each.part, each.tensor, index_text(each.index), each.message) for each in self
        ]
        return Table(columns, tuple(rows))

    def to_pandas(self) -> Any:
        """The findings as a ``pandas.DataFrame``; *index* is a tuple of integers, or ``None``.

        Raises ``UsageError`` where pandas is not installed.
        """
        return frame_of(self.table, index=[each.index for each in self])


def check(
    model: Any,
    *,
    select: str | Sequence[str] = (),
    ignore: str | Sequence[str] = (),
    rule: Named | Rule | Sequence[Named | Rule] = (),
    severity: Mapping[str, str] | None = None,
    expect: str | PathLike[str] | None = None,
    manifest: str | PathLike[str] | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    raw: bool = False,
    loader: str | None = None,
    jobs: int = 0,
    executor: str | Executor | None = None,
    **settings: Any,
) -> CheckResult:
    """Look for defects in the weights and in the file, as ``torch2grid check`` does.

    Args:
        model: a path, a ``Checkpoint``, an ``nn.Module``, a state dict, or whatever else a loader opens.
        select: only these rules, by code, by the beginning of one, or by name: ``"T101"``, ``"T1"``, ``"nan"``, or several;
            and what *expect* and *manifest* state.
        ignore: not these rules.
        rule: thresholds of a rule: ``"exploded:factor=5"``; several in a list.
        severity: of a rule's findings, by its code or name: ``"error"``, ``"warning"``, ``"note"`` or ``"off"``.
        expect: a file that says what the model has to be, and which findings are accepted.
        manifest: a file that ``torch2grid check --write-manifest`` wrote: every tensor that is not as it says is a finding.
        only, skip, tensors, filter, part, slice: what is looked at; see ``draw``. Unless they say otherwise it is everything in
            the file, under full names.
        raw: check what is stored, without decoders.
        loader: the name of the loader that reads the file.
        jobs: processes; 0 is one for each core, as needed.
        executor: where the work is done.
        settings: options of plugins.

    Returns:
        The findings. A rule that fails itself is a warning, and among ``failed``.

    Raises:
        UsageError: an unknown rule, filter, part or setting. LoadError: the file cannot be read.
    """
    from torch2grid_builtin.checking import LEVELS, check_checkpoint, chosen_rules, installed_rules, stated

    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    chosen.update(raw=raw, loader=loader, jobs=jobs, executor=executor)
    run = settings_from({**chosen, "rule": rule}, {**DRAWS_NOTHING, "include_buffers": "everything is looked at"}, rules=True)
    usable, broken = installed_rules(manager(), run.rule)
    selected, ignored = _words(select), _words(ignore)
    for error in broken.values():  # first: whoever asks for one by its code is told that there is no such rule
        _warn(error)
    expected, extra = stated(usable, expect, manifest, run)
    rules = chosen_rules(usable, extra, selected, ignored)
    levels = {**(expected.severity or {} if expected else {}), **(severity or {})}
    for word, level in levels.items():
        choose_rules([*usable, *extra], [word])
        if level not in LEVELS:
            raise UsageError(f"severity of {word}: expected {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, not {level!r}")
    if not rules:
        raise UsageError("no rule is left to check")
    if selected or ignored:  # only those that are asked for by name are missed
        broken = {name: error for name, error in broken.items() if name in selected}
    opened = as_checkpoint(model, run.loader or "", run.raw)

    def failed(error: PluginError) -> None:
        _warn(str(error))

    accept = expected.accept if expected else ()
    checked, _ = check_checkpoint(manager(), opened, rules, run, broken, failed, severity=levels, accept=accept)
    return CheckResult(checked, opened.part(run.part) if run.part else opened, rules)


def _words(given: str | Sequence[str]) -> list[str]:
    pieces = [given] if isinstance(given, str) else given
    return [word.strip() for piece in pieces for word in piece.split(",") if word.strip()]


def _warn(error: str) -> None:
    warnings.warn(f"torch2grid: {error}", stacklevel=3)

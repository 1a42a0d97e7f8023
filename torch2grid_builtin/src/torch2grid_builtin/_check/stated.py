"""The rules that files state: what a model has to be, and what each tensor was."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch2grid_builtin._check.expectations import Expectations, Expected, read_expectations
from torch2grid_builtin._check.manifests import Manifest, read_manifest
from torch2grid_core import Rule, Settings, UsageError
from torch2grid_core.commands import choose_rules

Path = str | os.PathLike[str]


def stated(
    rules: Sequence[Rule],
    expect: Path | None = None,
    manifest: Path | None = None,
    settings: Settings | None = None,
    *,
    recorded: bool = False,
) -> tuple[Expectations | None, list[Rule]]:
    """What the file *expect* states, and the rules that it and the file *manifest* make.

    Args:
        rules: those that are installed, which *expect* may name.
        expect: a file of expectations.
        manifest: a file that ``--write-manifest`` wrote.
        settings: what is looked at; what the files state is about whole tensors, and *expect* about all of them.
        recorded: a ``Manifest`` is among the rules in any case, and sees every tensor.

    Raises:
        UsageError: For a file that cannot be read, or says something else, and for settings that look at too little.
    """
    settings = settings or Settings()
    if settings.slice and (expect or manifest or recorded):
        raise UsageError("--slice cannot be combined with --expect or a manifest, which are about whole tensors; leave it out")
    if settings.filter and expect:
        raise UsageError("--expect cannot be combined with filters (--only, --skip, --tensors); choose tensors by its patterns")
    kinds: list[Rule | type[Rule]] = [*rules, Manifest, Expected]
    words = [word for rule in kinds for word in (rule.code, rule.name)]
    expected = read_expectations(os.fspath(expect), words) if expect else None
    made: list[Rule] = []
    if manifest or recorded:
        made.append(Manifest(read_manifest(os.fspath(manifest)) if manifest else None, chosen=bool(settings.filter)))
    if expected is not None:
        made.append(Expected(expected))
    return expected, made


def chosen_rules(
    usable: Sequence[Rule], extra: Sequence[Rule], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> list[Rule]:
    """The rules to ask: those that *select* names, without those that *ignore* names.

    *extra*, which files state, are asked in any case unless *ignore* names them: whoever gives a manifest wants it compared.
    Raises ``UsageError`` as ``choose_rules`` does.
    """
    asked = {id(rule) for rule in (*choose_rules([*usable, *extra], select, ignore), *extra)}
    return [rule for rule in choose_rules([*usable, *extra], (), ignore) if id(rule) in asked]

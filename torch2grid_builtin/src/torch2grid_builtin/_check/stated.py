"""The rules that files state: what a model has to be, and what each tensor was."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch2grid_builtin._check.expectations import Expectations, Expected, read_expectations
from torch2grid_builtin._check.manifests import Manifest, read_manifest
from torch2grid_core import Rule

Path = str | os.PathLike[str]


def stated(
    rules: Sequence[Rule], expect: Path | None = None, manifest: Path | None = None, *, recorded: bool = False
) -> tuple[Expectations | None, list[Rule]]:
    """What the file *expect* states, and the rules that it and the file *manifest* make.

    Args:
        rules: those that are installed, which *expect* may name.
        expect: a file of expectations.
        manifest: a file that ``--write-manifest`` wrote.
        recorded: a ``Manifest`` is among the rules in any case, and sees every tensor.

    Raises:
        UsageError: For a file that cannot be read, or says something else.
    """
    kinds: list[Rule | type[Rule]] = [*rules, Manifest, Expected]
    words = [word for rule in kinds for word in (rule.code, rule.name)]
    expected = read_expectations(os.fspath(expect), words) if expect else None
    made: list[Rule] = []
    if manifest or recorded:
        made.append(Manifest(read_manifest(os.fspath(manifest)) if manifest else None))
    if expected is not None:
        made.append(Expected(expected))
    return expected, made

"""Every built-in of every kind passes the kit that third parties get."""

from __future__ import annotations

from tests.support.testing import quantised_files
from tests.support.testing.made import (
    FILES as LOADED,
    attention,
    configured,
    ill,
    language,
    mixture,
    silent,
    training,
)

from torch2grid_core import PluginManager
from torch2grid_core._kinds import KINDS
from torch2grid_core.testing import Bound, bound_checks, checks, conformance

FILES = {**LOADED, **quantised_files.FILES}
BUILTINS = PluginManager.discover(third_party=False)


ILL = ("constant", "duplicate_units", "exploding", "not_run", "subnormal", "float16_range", "inconsistent", "initialisation")
SILENT = (
    *("average", "copied_layer", "gains", "repeated_block", "runs", "scaled_layer", "scaled_unit", "strays"),
    "untrained_rows",
)
RULES = {
    **{f"rule-{name}": ill for name in ILL},
    **{f"rule-{name}": silent for name in SILENT},
    "rule-config": configured,
}
SAMPLES = {
    "view-optimizer": training,
    "view-adapter": quantised_files.adapter_files,
    "view-vocabulary": language,
    "view-heads": attention,
    "view-experts": mixture,
}


@conformance(
    BUILTINS,
    files=FILES,
    samples={**SAMPLES, **RULES},
)
def test_it_conforms(check: Bound) -> None:
    check()


def test_every_builtin_of_every_kind_is_checked() -> None:
    checked = {(each.subject.kind, each.subject.name) for each in bound_checks(BUILTINS, FILES)}
    assert checked == {(kind, name) for kind in KINDS for name in BUILTINS.names(kind)}
    assert set(BUILTINS.names("loader")) == set(LOADED)
    assert {f"decoder-{name}" for name in BUILTINS.names("decoder")} == set(quantised_files.FILES)


def test_every_kind_has_checks_of_its_own_and_each_says_what_is_promised() -> None:
    for kind in KINDS:
        assert len([each for each in checks(kind) if each.kind == kind]) >= 3, kind
        assert len({each.name for each in checks(kind)}) == len(checks(kind))
        for each in checks(kind):
            assert 20 < len(each.description) <= 130, each.name
            assert each.description.endswith("."), each.name

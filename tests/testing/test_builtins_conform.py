"""Every built-in of every kind passes the kit that third parties get."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
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
from torch2grid_core.testing import Bound, _common_checks, bound_checks, checks, conformance

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
# Imports each module in a fork of an interpreter that has imported what all of them do, and no built-in.
IMPORT_EACH = """
import importlib, json, os, sys
import ml_dtypes, numpy, torch2grid_core
from torch2grid_core import grids, measures, pages, selection, sources, text
for name in torch2grid_core.__all__:
    getattr(torch2grid_core, name)
assert not any(name.startswith("torch2grid_builtin") for name in sys.modules)
found = {}
for module in sys.argv[1:]:
    ours, theirs = os.pipe()
    if not os.fork():
        importlib.import_module(module)
        os.write(theirs, ", ".join(name for name in ("torch", "matplotlib.pyplot") if name in sys.modules).encode() + b".")
        os._exit(0)
    os.close(theirs)
    found[module] = os.read(ours, 1000).decode()
    os.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def imported_in_forks() -> Iterator[None]:
    """What the import of each built-in brings in: forks of one interpreter tell it, which otherwise one for each would."""
    modules = sorted({each.subject.cls.__module__ for each in bound_checks(BUILTINS, FILES)})
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH, *modules], capture_output=True, text=True, check=True)
    found = {module: said.removesuffix(".") for module, said in json.loads(done.stdout).items() if said}
    assert sorted(found) == modules
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_common_checks, "_heavy_imports", lambda module, _: found[module])
        yield


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

"""What the guide to needs says: its examples conform, what runs in workers does, and BLAS has one thread there."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.docs.blocks import DOCS, blocks, prepare
from tests.support.tools import torch2grid

from torch2grid_core import measure
from torch2grid_core._engine.processes import Processes
from torch2grid_core.testing import bound_checks, sample_checkpoints

THREADS = [f"{library}_NUM_THREADS" for library in ("OPENBLAS", "MKL", "OMP")]

WHERE = '''
import json, os
from dataclasses import dataclass
from torch2grid_core import Need, Page, View
from torch2grid_core.measures import Collector, Summary
from torch2grid_core.pages import Text

def note(what):
    with open("where.jsonl", "a") as stream:
        threads = [os.environ[f"{each}_NUM_THREADS"] for each in ("OPENBLAS", "MKL", "OMP")]
        stream.write(json.dumps([what, os.getpid(), threads]) + "\\n")

class Seen(Collector):
    def update(self, chunk): note("update")
    def merge(self, other): note("merge")
    def result(self): return 1

@dataclass(frozen=True)
class OfModel(Need):
    def groups(self, checkpoint): return {None: tuple(checkpoint)}
    def merges(self, tensor): return True
    def collector(self, tensors): return Seen()

@dataclass(frozen=True)
class Itself(Need):
    def compute(self, tensors): note("compute")

class Where(View):
    """says where it runs"""
    name = "where"
    def subject(self, checkpoint, run):
        note("subject")
        return checkpoint
    def tensor_needs(self, tensor, run):
        note("tensor_needs")
        return {"x": Summary(brief=True)}
    def tensor_pages(self, tensor, results, run):
        note("tensor_pages")
        return ()
    def needs(self, checkpoint, run):
        note("needs")
        return {"model": OfModel(), "itself": Itself()}
    def pages(self, checkpoint, results, run):
        note("pages")
        yield Page("where", "Where", (Text("here"),))
'''


def test_its_views_conform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for block in blocks(DOCS / "plugins" / "needs.md"):
        if block.title.endswith(".py"):
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    exponents = importlib.import_module("exponents")
    for bound in bound_checks(exponents.ExponentsView):
        bound()
    for name, found in measure(sample_checkpoints()["ordinary"], {"x": exponents.Exponents(), "y": exponents.Exponents(1.0)}):
        weights = np.frexp(sample_checkpoints()["ordinary"][str(name)].numpy())[1]
        assert 1 <= found["x"] <= found["y"] == len(np.unique(weights))
    monkeypatch.delitem(sys.modules, "exponents")


@pytest.mark.skipif(sys.platform != "linux", reason="processes of the command line are forked")
def test_what_runs_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    prepare(tmp_path)
    (tmp_path / "where.py").write_text(WHERE, encoding="utf-8")
    done = torch2grid("model.pth", "--load-plugin", "where.py", "--where", "--jobs", "2", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    noted = [json.loads(line) for line in (tmp_path / "where.jsonl").read_text(encoding="utf-8").splitlines()]
    at = {what: {pid for each, pid, _ in noted if each == what} for what, _, _ in noted}
    (main,) = at["pages"]
    for what in ("subject", "needs", "tensor_needs", "merge"):
        assert at[what] == {main}, what
    for what in ("update", "compute", "tensor_pages"):
        assert main not in at[what], what
    assert {tuple(threads) for _, _, threads in noted} == {("1", "1", "1")}


def test_workers_of_python_have_one_thread_for_blas_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    executor = Processes(1)
    assert [executor.submit(os.getenv, name).result() for name in THREADS] == ["1", "1", "3"]
    assert os.getenv("MKL_NUM_THREADS") is None
    executor.shutdown()

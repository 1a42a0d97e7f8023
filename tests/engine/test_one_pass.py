"""All views share one pass: what each asks for is united, and no byte of data is read twice."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from tests.support.checks.defects import save
from tests.support.tools import COMMAND
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_core import Page, View
from torch2grid_core._data.storage import BytesStorage
from torch2grid_core.measures import Distribution, Profile, Summary


class _Asking(View):
    def __init__(self, name, *needs):
        self.name, self._needs = name, needs

    def needs(self, checkpoint, run):
        return {str(number): need for number, need in enumerate(self._needs)}

    def pages(self, checkpoint, results, run):
        yield Page(self.name, "", (), about=results)


def asked(arrays, *views):
    return [drawn.page.about for drawn in drawn_of(checkpoint_of(arrays), views)]


def test_summaries_are_counted_once_and_hold_what_everybody_asked_for(monkeypatch):
    updates = Counter()
    original = Distribution.update

    def counted(self, weights):
        updates[id(self)] += 1
        original(self, weights)

    monkeypatch.setattr(Distribution, "update", counted)
    values = np.linspace(-1, 1, 10_001, dtype=np.float32)  # no small tensor, which has no pass of its own
    first, second = asked(
        {"a": values},
        _Asking("first", Summary(), Summary((0.1,), brief=True)),
        _Asking("second", Summary((0.5,)), Profile()),
    )
    assert len(updates) == 1
    found = first["0"]["a"]
    assert found is first["1"]["a"] is second["0"]["a"]
    assert set(found.thresholds) == {0.1, 0.5}
    assert found.near_zero(0.1) == (np.abs(values) < np.float32(0.1)).sum()
    assert found.quantile(0.5) == pytest.approx(0, abs=1e-2)


def test_a_brief_summary_is_brief_when_nobody_wants_more():
    (found,) = asked({"a": np.ones((3, 4))}, _Asking("one", Summary((0.1,), brief=True), Summary((0.2,), brief=True)))
    with pytest.raises(ValueError, match="brief"):
        found["0"]["a"].quantile(0.5)


def test_reads_in_memory(monkeypatch):
    reads = []
    original = BytesStorage.read_into

    def counted(self, offset, buffer):
        reads.append(len(buffer))
        original(self, offset, buffer)

    monkeypatch.setattr(BytesStorage, "read_into", counted)
    values = np.random.default_rng(0).standard_normal((600, 700)).astype(np.float32)
    asked({"a.weight": values}, _Asking("one", Summary(), Profile()), _Asking("two", Summary((0.1,), brief=True)))
    assert sum(reads) == values.nbytes


@pytest.mark.skipif(shutil.which("strace") is None or sys.platform != "linux", reason="strace is not installed")
def test_the_command_line_reads_each_data_byte_once(tmp_path):
    generator = np.random.default_rng(0)
    shapes = {"big.weight": (3000, 2000), "small.weight": (64, 3, 7, 7), "norm.weight": (512,), "head.weight": (1000, 4000)}
    path = save(
        tmp_path / "model.safetensors",
        {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
    )
    data = sum(4 * int(np.prod(shape)) for shape in shapes.values())
    views = ("--stats", "--histogram", "--dead-neurons")
    for name, words in (("one", ("-j", "1")), ("two", ("-j", "2"))):
        log = tmp_path / f"{name}.log"
        tracing = ["strace", "-ff", "-y", "-e", "trace=read,pread64,readv,preadv,preadv2,mmap", "-o", str(log)]
        done = subprocess.run(
            [*tracing, str(COMMAND), str(path), *views, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if done.returncode and "ptrace" in done.stderr.lower():
            pytest.skip("strace may not trace here")
        assert done.returncode == 0, done.stderr
        logs = "".join(each.read_text() for each in tmp_path.glob(f"{name}.log.*"))  # one for each process
        mine = [line for line in logs.splitlines() if "model.safetensors" in line]
        assert not [line for line in mine if "mmap(" in line]
        read = sum(int(found[1]) for line in mine if (found := re.search(r"= (\d+)$", line)))
        assert data <= read <= data + 84 * 1024, name  # the header, and the end, where an archive would have its directory

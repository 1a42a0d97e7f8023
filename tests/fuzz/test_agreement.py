"""A short, seeded part of ``make fuzz-torch``, and that it would notice."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fuzz import agreement, archives, pickled
from tests.fuzz.agreement import CRASH, KINDS, NEITHER, OURS, SAME, THEIRS

from torch2grid_builtin._loaders import torch_zip
from torch2grid_builtin._loaders.zip_archive import Packed

RUNS = 1350


def test_what_both_open_is_the_same(tmp_path: Path) -> None:
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for number, became in agreement.fuzz(0, RUNS, 7, tmp_path):
        kind = KINDS[number % len(KINDS)]
        counts[kind][became] += 1
        assert became in (SAME, OURS, THEIRS, NEITHER, CRASH), (kind, number, became)
    assert all(count.total() == RUNS // len(KINDS) for count in counts.values())
    assert all(count[SAME] for count in counts.values())
    assert all(count[CRASH] < 5 for count in counts.values())


def test_the_files_that_are_changed_are_the_same_for_both(tmp_path: Path) -> None:
    bases = agreement.bases()
    for name, raw in (("zip", bases["zip"].raw()), ("legacy", bases["legacy"].raw()), ("tar", agreement.tar_of(bases["tar"]))):
        (tmp_path / name).write_bytes(raw)
        assert agreement.verdict(tmp_path / name) == SAME
        assert len(agreement.ours(tmp_path / name)[0]) >= 4


def test_one_number_makes_one_file() -> None:
    assert [agreement.one(number, 3) for number in range(20)] == [agreement.one(number, 3) for number in range(20)]
    assert len({agreement.one(number, 3)[1] for number in range(200)}) > 190


def archive(value: object) -> archives.Zip:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return archives.read(buffer.getvalue())


def test_it_notices_other_bytes_another_name_and_another_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive({"a": torch.ones(3), "b": torch.zeros(3)})
    path = tmp_path / "x.pt"
    path.write_bytes(made.raw())
    assert agreement.verdict(path) == SAME
    with monkeypatch.context() as patch:  # a reader that gives one storage for all
        patch.setattr(torch_zip.Storages, "record", lambda self, key: self.names.storage(f"{self.folder}0"))
        assert agreement.verdict(path).startswith("differs: PyTorch [('b', (3,), 'float32'")
    with monkeypatch.context() as patch:  # one that names tensors otherwise
        found = agreement.ours(path)
        patch.setattr(agreement, "ours", lambda path: ([(f"x{name}", *rest) for name, *rest in found[0]], set()))
        assert agreement.verdict(path).startswith("differs")
    made.records[-1].gap = b"junk"
    path.write_bytes(made.raw())
    assert agreement.verdict(path) == OURS
    with monkeypatch.context() as patch:
        patch.setattr(Packed, "_check_behind", lambda *_: None)
        assert agreement.verdict(path) == SAME
    became = set()  # of two names that are equal without case, PyTorch takes one or the other
    for number in range(6):
        alike = archive({"a": torch.ones(3), "b": torch.zeros(3)})
        stored = [each for each in alike.records if b"/data/" in each.name]
        alike.records[number:number] = [
            replace(each, name=each.name.replace(b"/data/", b"/DATA/"), data=bytes(12)) for each in stored
        ]
        path.write_bytes(alike.raw())
        assert agreement.verdict(path) == OURS
        with monkeypatch.context() as patch:
            patch.setattr(torch_zip, "_capitals", lambda _: {})
            became.add(agreement.verdict(path).partition(":")[0])
    assert became == {SAME, "differs"}
    path.write_bytes(b"neither")
    assert agreement.verdict(path) == NEITHER


def test_tensors_have_the_names_that_torch2grid_gives() -> None:
    value = OrderedDict({"a": [torch.ones(1), {3: torch.zeros(2), (1, "x"): torch.ones(3)}]})
    value.aside = torch.ones(4)  # type: ignore[attr-defined]
    named = [(leaf[0], aside) for leaf, aside in agreement.leaves(value)]
    assert named == [("a.0", False), ("a.1.3", False), ("a.1.(1, x)", False), ("aside", True)]
    assert [leaf[0] for leaf, _ in agreement.leaves(torch.ones(1))] == ["tensor"]


def test_opcodes_come_back_as_they_were() -> None:
    for raw in agreement.bases()["legacy"].pickles:
        assert b"".join(pickled.operations(raw + b"more")) == raw


def test_archives_are_written_as_they_are_read() -> None:
    made = archive({"a": torch.arange(5)})
    again = archives.read(made.raw())
    assert [(each.name, each.data) for each in again.records] == [(each.name, each.data) for each in made.records]
    members = agreement.bases()["tar"]
    assert archives.members(agreement.tar_of(members)) == members
    header = archives.tar_header(b"name", 5, signed=True)
    assert np.frombuffer(header, dtype=np.uint8).size == 512

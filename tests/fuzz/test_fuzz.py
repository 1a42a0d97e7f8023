"""A short, seeded part of ``make fuzz``, and that the fuzzer would notice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.fuzz.fuzz import Broken, Change, content, fuzz, verdict
from tests.fuzz.samples import SEALED, Sample, samples

from torch2grid_core.sources import CheckedStorage

RUNS = 60


def test_changed_files_open_equal_or_are_clean_errors(tmp_path: Path) -> None:
    counts: dict[str, Counter[str]] = {}
    for sample, changed, became in fuzz(RUNS, 1, tmp_path):
        counts.setdefault(sample.name, Counter())[became.partition(":")[0]] += 1
        assert not became.startswith("broken"), (sample.name, changed.first, changed.count, became)
    assert len(counts) == 12
    for sample in samples():
        assert sum(counts[sample.name].values()) == RUNS
        assert counts[sample.name]["error"] > RUNS // 5
        assert not sample.whole or set(counts[sample.name]) <= {"error", "equal"}


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_each_byte_under_a_checksum_counts(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(sample.raw)
    good = content(tmp_path / "good")
    places = [index for index in range(len(sample.raw)) if sample.place(index) == SEALED]
    assert bool(places) == (sample.whole or sample.name == "tar")
    for index in random.Random(2).sample(places, min(40, len(places))):
        raw = bytearray(sample.raw)
        raw[index] ^= 0x10
        became = verdict(sample, good, Change(bytes(raw), index, 1), tmp_path / "changed")
        assert became == "error" or "deflated" in sample.name or sample.name == "gzip"


def one(name: str) -> Sample:
    return next(sample for sample in samples() if sample.name == name)


def test_the_fuzzer_notices_a_reader_that_checks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = one("npz")
    (tmp_path / "good").write_bytes(sample.raw)
    good = content(tmp_path / "good")
    record = sample.sealed[0]
    raw = bytearray(sample.raw)
    raw[record.stop - 1] ^= 1  # the last number of the first array
    changed = Change(bytes(raw), record.stop - 1, 1)
    assert verdict(sample, good, changed, tmp_path / "changed") == "error"
    monkeypatch.setattr(CheckedStorage, "read_into", lambda self, offset, buffer: self.inner.read_into(offset, buffer))
    monkeypatch.setattr(CheckedStorage, "verify", lambda self: None)
    with pytest.raises(Broken, match="opened otherwise under a checksum"):
        verdict(sample, good, changed, tmp_path / "changed")


def test_the_fuzzer_notices_what_opens_otherwise(tmp_path: Path) -> None:
    sample = one("legacy")
    (tmp_path / "good").write_bytes(sample.raw)
    tensors, said = content(tmp_path / "good")
    fewer = dict(list(tensors.items())[1:])
    assert verdict(sample, (fewer, said), Change(sample.raw, 0, 1), tmp_path / "changed") == "otherwise"
    with pytest.raises(Broken, match="cut short"):
        verdict(sample, (fewer, said), Change(sample.raw, len(sample.raw), 0), tmp_path / "changed")
    raw = bytearray(sample.raw)
    raw[sample.numbers[0].start] ^= 1
    number = Change(bytes(raw), sample.numbers[0].start, 1)
    assert verdict(sample, (tensors, said), number, tmp_path / "changed") == "a number"
    with pytest.raises(Broken, match="more than numbers"):
        verdict(sample, (fewer, said), number, tmp_path / "changed")

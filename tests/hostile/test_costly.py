"""What a file repeats is charged where it is done: each kind of ``costly.py`` ends in time and space, with one line."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.support.hostile.costly import KINDS
from tests.support.hostile.running import GIB, Runs
from tests.support.tools import DIGITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, pidfd and /proc are Linux's")

SCALE = 0.1
# Of several pickles each is within the limits of one, and what does nothing costs by its length, at this scale as at that.
SMALLER = dict.fromkeys(("shards", "pickles_of_a_stream", "storages_of_a_tar"), SCALE / 2)
REFUSED = {  # at this scale; the others open, or hold no tensor, well within the limits
    "metadata_of_tensors": "repeats its objects more often",
    "channels": "repeats its objects more often",
    "dimensions": "repeats its objects more often",
    "keys": "a storage without a key",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_costs_what_it_weighs(kind: str, runs: Runs, tmp_path: Path) -> None:
    good = runs.forked(["--no-plugins", DIGITS])
    for path in KINDS[kind](tmp_path, SMALLER.get(kind, SCALE)):
        result = runs.forked(["--no-plugins", path, "--stats"], good.peak + GIB)
        assert result.code is not None, "it did not end"
        assert result.code == 0 or result.is_clean_error(), result
        assert REFUSED.get(kind, "") in result.err


def test_names_of_one_tensor_are_bounded(runs: Runs, tmp_path: Path) -> None:
    """Less than a kilobyte costs seconds nowhere: not at opening, in no rule, and in no report."""
    good = runs.forked(["check", "--no-plugins", DIGITS])
    for path in KINDS["names_of_one_tensor"](tmp_path, 1):
        assert path.stat().st_size < 2500
        result = runs.forked(["check", "--no-plugins", path], good.peak + (150 << 20))
        assert result.code == 0, result
        assert result.seconds < 8, result  # 1 s on an idle machine; it was 198 s and more
        assert result.out.count("\n") <= 2, result.out


@pytest.mark.parametrize("piece", ["a_", "_emb", "pos_", "1", "experts.1.", "conv", "layers.0.", "lora_A."])
def test_long_names_cost_what_they_weigh(piece: str, runs: Runs, tmp_path: Path) -> None:
    """Rules, views and adapters look for words in a name: twice the name is twice the work, in every command."""
    name = piece * (300_000 // len(piece)) + "!"  # the square of its length would take minutes
    (tmp_path / "a.safetensors").write_bytes(save({name: np.ones((4, 4), "f4"), f"{name}.weight": np.ones((4, 4), "f4")}))
    for words in (["check", "--no-plugins"], ["--no-plugins", "--layers"], ["--no-plugins", "--stats", "--format", "csv"]):
        result = runs.forked([*words, tmp_path / "a.safetensors"])
        assert result.code in (0, 1), (words, result.code, result.err[-300:])
        assert result.seconds < 15, (words, result.seconds)


def test_folders_of_an_archive_count_as_its_files_do(runs: Runs, tmp_path: Path) -> None:
    """Each is looked at by every loader, and a name of a hundred bytes leads through sixty of them."""
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(1500):
            archive.addfile(tarfile.TarInfo(f"{index:04}/{'a/' * 40}f"))
        entry = tarfile.TarInfo("w.safetensors")
        raw = save({"w": np.ones(3, np.float32)})
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))
    assert (tmp_path / "model.tar.gz").stat().st_size < 40_000
    good = runs.forked(["check", "--no-plugins", DIGITS])
    result = runs.forked(["check", "--no-plugins", tmp_path / "model.tar.gz"], good.peak + (150 << 20))
    assert result.code == 2, result
    assert result.err.count("\n") == 1
    assert "more than 10,000 files and folders" in result.err

"""Reading the whole corpus compiles, executes, imports and starts nothing, and opens no socket: an audit hook watches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.samples import arrays, samples
from tests.support.corpus import hostile, manifest, real

SCRIPT = Path(__file__).with_name("audited.py")
RUNS_CODE = b"cposix\nsystem\n(S'true'\ntR."


def audited(folder: Path, paths: list[Path]) -> tuple[list[dict[str, str]], int]:
    """The audit events while *paths* were read, and the number of tensors in them."""
    warm = folder / "warm"
    warm.mkdir()
    for number, sample in enumerate(samples()):
        (warm / str(number)).write_bytes(sample.raw)
        (warm / f"{number}.cut").write_bytes(sample.raw[:-9])  # so that the ways of failing are warm, too
    (warm / "calls").write_bytes(RUNS_CODE)
    shard = next(sample for sample in samples() if sample.name == "safetensors")
    (warm / "sharded").mkdir()
    (warm / "sharded" / "one.safetensors").write_bytes(shard.raw)
    index = {"weight_map": dict.fromkeys(arrays(), "one.safetensors")}
    (warm / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    words = [sys.executable, str(SCRIPT), str(warm), *map(str, paths)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    *events, count = done.stdout.splitlines()
    return [json.loads(event) for event in events], int(count)


@pytest.mark.parametrize(("kind", "path", "fewest"), [("real", real, 1000), ("hostile", hostile, 3100)])
def test_reading_runs_nothing(kind: str, path: object, fewest: int, tmp_path: Path) -> None:
    assert callable(path)
    cases = [path(case["file"]) for case in manifest(kind)] or [path("none")]
    events, count = audited(tmp_path, cases)
    assert events == []
    assert count > fewest


def test_the_hook_notices(tmp_path: Path) -> None:
    """The file of a call is read quietly; what unpickling it would do is an event."""
    (tmp_path / "evil.pkl").write_bytes(RUNS_CODE)
    assert audited(tmp_path, [tmp_path / "evil.pkl"]) == ([], 0)
    program = "import sys, pickle; sys.addaudithook(lambda name, args: print(name)); pickle.load(open(sys.argv[1], 'rb'))"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "evil.pkl")], capture_output=True, text=True)
    assert "os.system" in done.stdout.split()

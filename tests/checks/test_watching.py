"""``check --watch``: each new checkpoint of a run, once it is complete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file
from tests.support.tools import interruptible, torch2grid

from torch2grid_builtin._check import watching
from torch2grid_builtin._check.watching import Watch
from torch2grid_core import UsageError


def weights(ill: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    values = np.random.default_rng(2).normal(size=(20, 30)).astype(np.float32) * 0.02
    if ill:
        values[1, 2] = np.nan
    return {"fc.weight": values}


def test_a_checkpoint_is_news_once_and_only_when_it_no_longer_grows(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "old.safetensors")
    watched = Watch(str(tmp_path))
    assert watched.complete() == []
    path = tmp_path / "new.safetensors"
    data = save(weights())
    seen = []
    for stop in (10, 100, 1000, len(data), len(data), len(data)):
        path.write_bytes(data[:stop]) if not path.exists() or path.stat().st_size != stop else None
        seen.append(watched.complete())
    assert seen == [[], [], [], [], [str(path)], []]
    (tmp_path / "notes.txt").write_text("no checkpoint")
    (tmp_path / ".hidden.pth").write_bytes(b"x")
    assert [watched.complete() for _ in range(3)] == [[], [], []]
    save_file(weights(ill=True), path)  # another one under the same name, as last.ckpt is
    os.utime(path, ns=(1, 1))
    assert [watched.complete() for _ in range(3)] == [[], [str(path)], []]


def test_a_folder_is_news_when_all_its_files_are_there(tmp_path: Path) -> None:
    watched = Watch(str(tmp_path))
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    assert watched.complete() == []
    save_file(weights(), folder / "model-00001-of-00002.safetensors")
    assert watched.complete() == []
    (folder / "model-00002-of-00002.safetensors.tmp").write_bytes(b"half")
    assert [watched.complete() for _ in range(3)] == [[], [], []]
    (folder / "model-00002-of-00002.safetensors.tmp").unlink()
    save_file({"other": np.ones(3, np.float32)}, folder / "model-00002-of-00002.safetensors")
    assert [watched.complete() for _ in range(3)] == [[], [str(folder)], []]


def test_links_in_a_circle_and_folders_under_another_name_are_no_news(tmp_path: Path) -> None:
    watched = Watch(str(tmp_path))
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    (tmp_path / "dangling.pth").symlink_to("nothing.pth")
    folder = tmp_path / "step-10.tmp"
    folder.mkdir()
    save_file(weights(), folder / "model.safetensors")
    assert [watched.complete() for _ in range(3)] == [[], [], []]
    folder.rename(tmp_path / "step-10")
    assert [watched.complete() for _ in range(3)] == [[], [str(tmp_path / "step-10")], []]


def test_the_exit_code_is_the_highest_and_a_file_that_cannot_be_checked_ends_nothing(tmp_path: Path) -> None:
    save_file(weights(ill=True), tmp_path / "kept.safetensors")
    given = [sys.executable, "-m", "torch2grid", "check", "--watch", str(tmp_path), "--part", "optimizer"]
    with subprocess.Popen(
        given, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    ) as process:
        lines: list[str] = []
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=lambda stream=stream: lines.extend(stream), daemon=True).start()
        wait(lambda: any("watching" in line for line in lines))
        save_file(weights(), tmp_path / "no-parts.safetensors")
        wait(lambda: any("no-parts" in line for line in lines))
        parts = {"model": {"a": torch.ones(3)}, "optimizer": {"state": {0: {"exp_avg": torch.full((3,), torch.nan)}}}}
        torch.save({**parts, "epoch": 1}, tmp_path / "later.pth")
        wait(lambda: any("later.pth: T101 error" in line for line in lines))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 2


def test_each_news_is_checked_and_what_was_to_be_run_for_a_finding_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.01)
    run, said, checked = tmp_path / "run", list[str](), list[str]()
    run.mkdir()

    def check(path: str) -> int:
        checked.append(Path(path).name)
        if len(checked) == 3:
            raise KeyboardInterrupt
        save_file(weights(), run / f"{len(checked)}.safetensors")
        return len(checked) % 2

    def say(line: str) -> None:
        said.append(line)
        if "watching" in line:
            save_file(weights(), run / "0.safetensors")

    assert watching.watch(str(run), check, "false", say) == 1
    assert checked == ["0.safetensors", "1.safetensors", "2.safetensors"]
    assert said[1:] == ["--on-finding false: ended with exit code 1", "stopped"]
    for command, told in (("", []), ("./none-such", ["--on-finding ./none-such: No such file or directory"])):
        checked, said = checked[:0], said[:0]
        watching.watch(str(run), check, command, say)
        assert said[1:-1] == told
    with pytest.raises(UsageError, match="No closing quotation"):
        watching.watch(str(run), check, "'", say)


def test_what_is_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        Watch(str(tmp_path / "none"))
    done = torch2grid("check", "--watch", "none", cwd=tmp_path)
    assert done.returncode == 2
    done = torch2grid("check", "m.pth", "--on-finding", "true", cwd=tmp_path)
    assert done.returncode == 2
    assert "--watch" in done.stderr


def test_a_run_is_watched_a_command_is_run_and_an_interrupt_ends_it(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    run.mkdir()
    told = tmp_path / "told.py"
    told.write_text("import sys; open('told.txt', 'a').write(sys.argv[-1] + '\\n')")
    command = [sys.executable, "-m", "torch2grid", "check", "--watch", str(run), "--on-finding", f"'{sys.executable}' '{told}'"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)  # type: ignore[arg-type]
        reader.start()
        wait(lambda: any("watching" in line for line in lines))
        save_file(weights(), run / "step-1.safetensors")
        wait(lambda: any("step-1" in line for line in lines))
        save_file(weights(ill=True), run / "step-2.safetensors")
        wait(lambda: (tmp_path / "told.txt").exists() and (tmp_path / "told.txt").read_text().endswith("\n"))
        process.send_signal(signal.SIGINT)
        out = process.stdout.read() if process.stdout else ""
        assert process.wait(60) == 1
    assert "step-2.safetensors: T101 error fc.weight[1, 2]: 1 of 600 weights is NaN (nan)" in out
    assert (tmp_path / "told.txt").read_text().splitlines() == [str(run / "step-2.safetensors")]
    assert "Traceback" not in "".join(lines)


def wait(done: Any) -> None:
    limit = time.monotonic() + 120
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.05)

"""The files that were opened wrongly in use, each with its right answer: a test for each line of their manifest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import corpus
from tests.support.corpus import cases
from tests.support.loaders.opened import opened, same
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint
from torch2grid_core.selection import select

NET = {"0.weight": (30, 20), "0.bias": (30,), "1.weight": (5, 30), "1.bias": (5,)}
SPACED = {"0.weight": (30, 20), "0.bias": (30,), "2.weight": (5, 30), "2.bias": (5,)}
Shapes = dict[str, tuple[int, ...]]


def found(name: str) -> Path:
    return cases(f"found/{name}")


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def shown(name: str) -> Checkpoint:
    return select(opened(found(name)), include_buffers=True).checkpoint


def shapes(checkpoint: Checkpoint) -> Shapes:
    return {name: tensor.shape for name, tensor in checkpoint.items()}


def told(name: str, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return torch2grid(found(name), "--stats", *words, cwd=cwd)


def truth(name: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(found(name), weights_only=True))


def torchscript(name: str) -> Callable[[Path], None]:
    def test(cwd: Path) -> None:
        expected = truth("torchscript/truth.pt")
        checkpoint = shown(name)
        assert set(checkpoint) == set(expected)
        assert all(same(checkpoint[each], expected[each]) for each in expected)
        assert "8 of 9 tensors shown; not shown: bookkeeping (1); 3,146 parameters" in told(name, cwd).stderr

    return test


def frozen(cwd: Path) -> None:
    assert sorted(shown("torchscript/frozen.pt")) == [f"constants.{index}" for index in range(4)]
    assert "a frozen graph keeps no names" in told("torchscript/frozen.pt", cwd).stderr


def model(name: str, expected: Shapes, *words: str) -> Callable[[Path], None]:
    """The default view has the tensors *expected*, and the summary says each of *words*."""

    def test(cwd: Path) -> None:
        assert shapes(shown(name)) == expected
        line = told(name, cwd).stderr
        assert all(word in line for word in words), line

    return test


def optimizer(name: str, parameters: list[str], then: Callable[[Path], None]) -> Callable[[Path], None]:
    """``--optimizer`` finds two moments of each of *parameters*."""

    def test(cwd: Path) -> None:
        then(cwd)
        done = torch2grid(found(name), "--optimizer", "--format", "json", "-o", "o", cwd=cwd)
        assert done.returncode == 0, done.stderr
        pages = json.loads((cwd / "o" / "index.json").read_text())
        about = [each["about"] for each in pages["files"].values() if "about" in each]
        members = {each["tensor"]: each["members"] for each in about}
        assert set(members) == set(parameters)
        assert all({"exp_avg", "exp_avg_sq"} <= set(each) for each in members.values())

    return test


def fsdp2(cwd: Path) -> None:
    name = "dtensor/fsdp2_rank0.pt"
    expected = truth("dtensor/truth.pt")
    checkpoint = opened(found(name)).part("model") if opened(found(name)).parts else opened(found(name))
    for each, whole in expected.items():
        shard = checkpoint[each]
        (dimension,) = [axis for axis, length in enumerate(whole.shape) if shard.shape[axis] != length] or [0]
        assert np.array_equal(shard.numpy(), whole.narrow(dimension, 0, shard.shape[dimension]).numpy())
        assert "rank 0 of 2" in shard.note
        assert f"dimension {dimension}" in shard.note
        assert "×".join(map(str, whole.shape)) in shard.note


def both_ranks(cwd: Path) -> None:
    opened = shown("dtensor")
    expected = truth("dtensor/truth.pt")
    assert shapes(opened) == {name: tuple(tensor.shape) for name, tensor in expected.items()}
    assert all(opened[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in expected.items())
    assert "2 ranks of PyTorch zip" in told("dtensor", cwd, "--stats").stderr


def compared(first: str, second: str, *words: str, code: int = 0) -> Callable[[Path], None]:
    def test(cwd: Path) -> None:
        for pair in ((first, second), (second, first)):
            done = torch2grid("compare", *map(found, pair), "--stats", cwd=cwd)
            assert done.returncode == code, (pair, done.stdout, done.stderr)
            assert all(word in done.stdout + done.stderr for word in words), (done.stdout, done.stderr)

    return test


def complex_figures(cwd: Path) -> None:
    before, after = truth_of_complex("before"), truth_of_complex("after")
    done = torch2grid("compare", found("complex/before.pt"), found("complex/after.pt"), "--stats", cwd=cwd)
    assert done.returncode == 1, done.stderr
    for name in before:
        assert np.abs(after[name] - before[name]).max() > np.abs((after[name] - before[name]).real).max()
        largest = np.abs(after[name] - before[name]).max()
        assert f"{largest:.3e}" in done.stdout, done.stdout


def truth_of_complex(which: str) -> dict[str, np.ndarray]:
    checkpoint = shown(f"complex/{which}.pt")
    return {name: tensor.numpy() for name, tensor in checkpoint.items() if tensor.dtype.kind == "c"}


def healthy(cwd: Path) -> None:
    for path in sorted(found("healthy").iterdir()):
        done = torch2grid("check", path, cwd=cwd)
        assert done.returncode == 0, done.stdout
        assert " error " not in done.stdout


def joblib(cwd: Path) -> None:
    done = told("picklers/arrays.joblib", cwd)
    assert done.returncode == 0 or (len(done.stderr.splitlines()) == 1 and "joblib" in done.stderr)


def shards(name: str, count: int, word: str) -> Callable[[Path], None]:
    """A folder of shards opens with *count* tensors and a line about *word*, of which ``check`` makes a finding."""

    def test(cwd: Path) -> None:
        assert len(shown(name)) == count
        done = told(name, cwd)
        assert done.returncode == 0
        assert word in done.stderr
        report = torch2grid("check", found(name), "--fail-on", "warning", cwd=cwd)
        assert report.returncode == 1
        assert word in report.stdout

    return test


def half_download(cwd: Path) -> None:
    done = told("shards_half_download", cwd)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "model-00002-of-00002.safetensors" in line


def variant(cwd: Path) -> None:
    done = told("shards_fp16_variant", cwd)
    assert done.returncode == 0
    assert "model.fp16.safetensors" in done.stderr
    assert {tensor.dtype.name for tensor in shown("shards_fp16_variant").values()} == {"float32"}


EXTRA = {"scaler._extra_state.mean": (4,), "scaler._extra_state.std": (4,)}
GAN = {"G.0.weight": (30, 40), "G.0.bias": (30,), "G.2.weight": (5, 30), "G.2.bias": (5,), **under("D.", SPACED)}
SEQ = {name.replace("G.", "encoder."): shape for name, shape in GAN.items() if name.startswith("G.")}
SEQ |= {name.replace("encoder.", "decoder."): (30, 50) if shape == (30, 40) else shape for name, shape in SEQ.items()}
ONMT = {f"model.{name}": shape for name, shape in SEQ.items() if name.startswith("encoder.")}
ONMT |= {"generator.0.weight": (500, 30), "generator.0.bias": (500,)}
SHARDS = {**{f"model.{each}.weight": (16, 16) for each in "abc"}, "lm_head.weight": (32, 16)}

SHARDS = {**{f"model.{each}.weight": (16, 16) for each in "abc"}, "lm_head.weight": (32, 16)}

LINES: dict[str, Callable[[Path], None]] = {
    "torchscript/traced.pt": torchscript("torchscript/traced.pt"),
    "torchscript/lite.ptl": torchscript("torchscript/lite.ptl"),
    "torchscript/frozen.pt": frozen,
    "objects/object_entry.pt": model("objects/object_entry.pt", {**NET, **EXTRA}, "6 tensors, 793 parameters"),
    "objects/distribution.pt": model(
        "objects/distribution.pt", {"weight": (30, 20), "bias": (30,), "prior.loc": (3,), "prior.scale": (3,)}, "4 tensors, "
    ),
    "objects/in_training.pt": model("objects/in_training.pt", {**NET, **EXTRA}),
    "dtensor/fsdp2_rank0.pt": fsdp2,
    "roots/list_of_five.pth": model(
        "roots/list_of_five.pth", {**under("0.", NET), **under("4.", NET)}, "not shown: optimizer (12)"
    ),
    "roots/pair.pth": optimizer("roots/pair.pth", list(NET), model("roots/pair.pth", NET, "785 parameters", "optimizer (12)")),
    "roots/composer.pt": optimizer(
        "roots/composer.pt",
        list(under("module.", SPACED)),
        model("roots/composer.pt", under("module.", SPACED), "785 parameters", "not shown: optimizer (12), random (2)"),
    ),
    "roots/onmt.pt": model("roots/onmt.pt", ONMT, "16,885 parameters", "not shown: optimizer (12)"),
    "roots/ema_only.pt": model("roots/ema_only.pt", SPACED, "785 parameters", "copy model_ema (4)"),
    "roots/gan.pt": model("roots/gan.pt", GAN, "networks G and D"),
    "roots/seq2seq.pt": model("roots/seq2seq.pt", SEQ, "networks encoder and decoder"),
    "tied/tied.safetensors tied/tied.pt": compared("tied/tied.safetensors", "tied/tied.pt"),
    "compare/nan_a.pt compare/nan_c.pt": compared("compare/nan_a.pt", "compare/nan_c.pt"),
    "compare/n.pt compare/n_swa.pt": compared("compare/n.pt", "compare/n_swa.pt", "n_averaged"),
    "compare/n.pt compare/n_lightning.pt": compared("compare/n.pt", "compare/n_lightning.pt", "metric.x", code=1),
    "compare/wn_old.pt compare/wn_new.pt": compared("compare/wn_old.pt", "compare/wn_new.pt"),
    "complex/before.pt complex/after.pt": complex_figures,
    "healthy/*": healthy,
    "dtensor/": both_ranks,
    "unzipped/best": model("unzipped/best", NET, "785 parameters"),
    "picklers/arrays.joblib": joblib,
    "shards_no_index/": model("shards_no_index", SHARDS, "4 tensors", "1,280 parameters"),
    "shards_phantom/": shards("shards_phantom", 4, "lm_head.bias"),
    "shards_extra/": shards("shards_extra", 4, "lm_head.weight"),
    "shards_half_download/": half_download,
    "shards_fp16_variant/": variant,
}


@pytest.mark.parametrize("line", LINES)
def test_the_answer_is_right(line: str, tmp_path: Path) -> None:
    LINES[line](tmp_path)


def test_every_line_of_the_manifest_has_its_test() -> None:
    if corpus.cases_root() is None:
        pytest.skip("no cases")
    manifest = json.loads(cases("found/manifest.json").read_text(encoding="utf-8"))
    lines = {" ".join(entry) if isinstance(entry, list) else entry for entry in (each["entry"] for each in manifest)}
    assert lines == set(LINES)

"""``torch2grid tree``: what is in a file, from its headers alone."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.tools import DIGITS, TRACING, torch2grid


def saved(folder: Path, value: Any, name: str = "m.pth") -> Path:
    torch.save(value, folder / name)
    return folder / name


def tree(folder: Path, *words: object) -> str:
    done = torch2grid("tree", *words, "-q", cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def document(folder: Path, *words: object) -> dict[str, Any]:
    return json.loads(tree(folder, *words, "--format", "json"))


def training() -> dict[str, Any]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng_state": torch.get_rng_state()}


def blocks(layers: int = 3) -> dict[str, torch.Tensor]:
    one = {"attn.q.weight": (4, 4), "attn.k.weight": (2, 4), "norm.weight": (4,)}
    made = {f"model.layers.{n}.{name}": torch.zeros(shape) for n in range(layers) for name, shape in one.items()}
    return {"model.embed.weight": torch.zeros(9, 4), **made, "head.weight": torch.zeros(9, 4)}


def test_modules_have_the_totals_of_what_they_hold(tmp_path: Path) -> None:
    found = document(tmp_path, DIGITS)
    tensors = torch.load(DIGITS, weights_only=True)
    assert [each["name"] for each in found["tensors"]] == list(tensors)
    assert [tuple(each["shape"]) for each in found["tensors"]] == [tuple(each.shape) for each in tensors.values()]
    weights = sum(each.numel() for each in tensors.values())
    assert found["format"] == "torch2grid tree 1"
    assert found["totals"] == {"tensors": len(tensors), "weights": weights, "bytes": 4 * weights}
    for module in found["modules"]:
        inside = [each for name, each in tensors.items() if name.startswith(f"{module['name']}.")]
        assert (module["tensors"], module["weights"]) == (len(inside), sum(each.numel() for each in inside))
    assert [each["name"] for each in found["modules"]] == ["conv1", "conv2", "fc1", "fc2"]


def test_shapes_are_written_as_python_has_them(tmp_path: Path) -> None:
    saved(tmp_path, {"scalar": torch.zeros(()), "vector": torch.zeros(2048), "matrix": torch.zeros(2, 3)})
    text = tree(tmp_path, "m.pth")
    assert "torch.Size" not in text
    assert re.search(r"^scalar +\(\) ", text, re.M)
    assert re.search(r"^vector +\(2048,\) ", text, re.M)
    assert re.search(r"^matrix +\(2, 3\) +float32 +6 +24 B$", text, re.M)


def test_blocks_of_equal_build_are_one_line(tmp_path: Path) -> None:
    saved(tmp_path, blocks(22))
    text = tree(tmp_path, "m.pth")
    assert re.search(r"^    0…21 +22 × 3 tensors +22 × 28 +22 × 112 B$", text, re.M)
    assert text.count("attn") == 3
    assert len(text.split("\n\n")[0].splitlines()) < 15
    every = tree(tmp_path, "m.pth", "--all")
    assert len(re.findall(r"^    \d+ +3 tensors", every, re.M)) == 22
    assert re.search(r"^model\.layers\.\*\.attn\.q\.weight +\(4, 4\) +22 +352 +", text, re.M)


def test_a_block_of_another_build_stands_apart(tmp_path: Path) -> None:
    tensors = blocks(5)
    tensors["model.layers.2.attn.q.weight"] = torch.zeros(4, 5)
    tensors["model.layers.4.norm.weight"] = torch.zeros(4, dtype=torch.float16)
    saved(tmp_path, tensors)
    found = re.findall(r"^    ([\d…]+) ", tree(tmp_path, "m.pth"), re.M)
    assert found == ["0…1", "2", "3", "4"]


@pytest.mark.parametrize("words", [(), ("--all",), ("--flat",), ("--depth", 1), ("--depth", 2, "--flat")])
def test_columns_are_aligned_for_names_of_any_length(words: tuple[object, ...], tmp_path: Path) -> None:
    names = [
        "a",
        "層.重み.weight",
        "層.重み.bias",
        "e\u0301.w",
        "x" * 150 + ".weight",
        "evil\x1b[31m\u202e.w",
        "l.0",
        "l.1",
        "",
    ]
    saved(tmp_path, {name: torch.zeros(3, 4 + place) for place, name in enumerate(names)})
    text = tree(tmp_path, "m.pth", *words)
    assert "\x1b" not in text
    assert "\u202e" not in text
    first = text.split("\n\n")[0].splitlines()
    start = first[0].index("Shape")
    for line in first[2:]:
        columns, width = [], 0
        for char in line:
            columns.append(width)
            width += 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        assert start in columns, line
        place = columns.index(start)
        assert line[place - 2 : place + 1].rstrip() == f"  {line[place]}", line


def test_the_parts_of_a_file_are_its_outermost_branches(tmp_path: Path) -> None:
    value = training()
    saved(tmp_path, value, "run.pt")
    done = torch2grid("tree", "run.pt", cwd=tmp_path)
    weights = sum(each.numel() for each in value["model"].values())
    assert re.search(rf"^model +6 tensors +{weights} ", done.stdout, re.M)
    assert re.search(r"^optimizer +18 tensors .* not shown$", done.stdout, re.M)
    assert re.search(r"^random +1 tensor +5,056 .* not shown$", done.stdout, re.M)
    assert re.search(r"^total shown +6 tensors", done.stdout, re.M)
    assert "6 of 25 tensors shown; not shown: optimizer (18), random (1)" in done.stderr
    everything = document(tmp_path, "run.pt", "--part", "all")
    assert {each["name"]: each["tensors"] for each in everything["parts"]} == {"model": 6, "optimizer": 18, "random": 1}
    assert all(each["shown"] for each in everything["parts"])
    assert len(everything["tensors"]) == 25
    assert {each["part"] for each in everything["tensors"] if each["name"].startswith("optimizer.")} == {"optimizer"}
    other = document(tmp_path, "run.pt", "--part", "optimizer")
    assert [each["shown"] for each in other["parts"]] == [False, True, False]
    assert len(other["tensors"]) == 18
    assert other["totals"]["tensors"] == 18


def test_settings_choose_what_is_listed(tmp_path: Path) -> None:
    counter = {"bn.num_batches_tracked": torch.tensor(3)}
    saved(tmp_path, {"fc.weight": torch.zeros(4, 5), "fc.bias": torch.zeros(4), "bn.weight": torch.zeros(4), **counter})
    (tmp_path / "s.yaml").write_text("only: ['fc.*']\n", encoding="utf-8")

    def names(*words: object) -> list[str]:
        return [each["name"] for each in document(tmp_path, "m.pth", *words)["tensors"]]

    assert names() == ["fc.weight", "fc.bias", "bn.weight"]
    assert "bookkeeping  1 tensor" in tree(tmp_path, "m.pth")
    assert names("--include-buffers") == ["fc.weight", "fc.bias", "bn.weight", "bn.num_batches_tracked"]
    assert names("--only", "fc.*") == names("--config", "s.yaml") == ["fc.weight", "fc.bias"]
    assert names("--skip", "*.bias") == ["fc.weight", "bn.weight"]
    assert names("--filter", "largest:count=1") == ["fc.weight"]
    assert names("--loader", "torch-zip", "--raw") == names()
    sliced = document(tmp_path, "m.pth", "--slice", "1:3, :2")
    assert [each["shape"] for each in sliced["tensors"]] == [[2, 2]]
    assert sliced["slice"] == "1:3, :2"
    assert "[1:3, 0:2] of (4, 5)" in tree(tmp_path, "m.pth", "--slice", "1:3, :2")
    assert sliced["not_shown"] == {"bookkeeping": 1, "too few dimensions": 2}
    wrong = torch2grid("tree", "m.pth", "--only", "nothing*", cwd=tmp_path)
    assert wrong.returncode
    assert wrong.stdout == ""


def test_depth_and_flat_give_the_totals_of_the_modules_there(tmp_path: Path) -> None:
    saved(tmp_path, blocks(3))
    rows = list(csv.DictReader(io.StringIO(tree(tmp_path, "m.pth", "--format", "csv", "--depth", "2"))))
    assert [(row["name"], int(row["tensors"]), int(row["weights"])) for row in rows] == [
        ("model.embed", 1, 36), ("model.layers", 9, 84), ("head.weight", 1, 36),
    ]  # fmt: skip
    assert [line.split()[0] for line in tree(tmp_path, "m.pth", "--depth", "1", "--flat").splitlines()[2:]] == [
        "model",
        "head",
        "total",
    ]
    lines = [line.split("  ")[0] for line in tree(tmp_path, "m.pth", "--depth", "1").split("\n\n")[0].splitlines()[2:]]
    assert lines == ["model", "head", "total"]


def test_csv_has_a_row_for_each_tensor(tmp_path: Path) -> None:
    shared = torch.ones(3, 2)
    saved(tmp_path, {"a": shared, "b": shared, "c": torch.zeros(5, dtype=torch.bfloat16)})
    rows = list(csv.DictReader(io.StringIO(tree(tmp_path, "m.pth", "--format", "csv"))))
    assert [(row["name"], row["shape"], row["dtype"], row["bytes"]) for row in rows] == [
        ("a", "(3, 2)", "float32", "24"), ("b", "(3, 2)", "float32", "24"), ("c", "(5,)", "bfloat16", "10"),
    ]  # fmt: skip
    assert rows[1]["note"] == "tied to a"
    assert document(tmp_path, "m.pth")["totals"] == {"tensors": 3, "weights": 11, "bytes": 34}


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors", "a.pkl", "legacy.pt"])
def test_every_format_that_opens_is_listed(name: str, tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    if name.endswith("npy"):
        np.save(tmp_path / name, array)
    elif name.endswith("npz"):
        np.savez(tmp_path / name, w=array)
    elif name.endswith("pkl"):
        (tmp_path / name).write_bytes(pickle.dumps({"w": array}))
    elif name.endswith("safetensors"):
        head = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
        (tmp_path / name).write_bytes(struct.pack("<Q", len(head)) + head + array.tobytes())
    else:
        torch.save({"w": torch.from_numpy(array)}, tmp_path / name, _use_new_zipfile_serialization=False)
    (found,) = document(tmp_path, name)["tensors"]
    assert (found["shape"], found["dtype"], found["bytes"]) == ([2, 3], "float32", 24)


def sparse(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of float32 whose numbers are a hole in the file."""
    head, offset = {}, 0
    for name, shape in tensors.items():
        size = 4 * int(np.prod(shape))
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(head).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + offset)


def test_no_weight_is_read_however_large_the_file(tmp_path: Path) -> None:
    sparse(tmp_path / "large.safetensors", {f"layers.{n}.weight": (1 << 14, 1 << 14) for n in range(200)})  # 215 GB
    started = time.perf_counter()
    found = document(tmp_path, "large.safetensors")
    assert found["totals"]["bytes"] == 200 << 30
    assert time.perf_counter() - started < 30


def test_many_tensors_are_listed_in_no_time(tmp_path: Path) -> None:
    names = [f"blocks.{n}.{m}.w{k}" for n in range(100) for m in range(10) for k in range(10)]
    sparse(tmp_path / "many.safetensors", dict.fromkeys(names, (2, 2)))
    one = tmp_path / "one.safetensors"
    sparse(one, {"w": (2, 2)})
    spent = {}
    for name in ("one.safetensors", "many.safetensors"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        text = tree(tmp_path, name, "--all")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "10,000 tensors" in text
    assert spent["many.safetensors"] - spent["one.safetensors"] < 2  # under coverage; half a second without


def test_a_name_of_ten_thousand_components_is_one_line(tmp_path: Path) -> None:
    saved(tmp_path, {"a." * 1_000_000 + "w": torch.zeros(2), "b": torch.zeros(2)})
    refused = torch2grid("tree", "m.pth", cwd=tmp_path)
    assert refused.returncode == 1
    assert "a string of 2000001 bytes as a key" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    saved(tmp_path, {"a." * 10_000 + "w": torch.zeros(2), "b": torch.zeros(2)})
    text = tree(tmp_path, "m.pth")
    assert len(text.splitlines()) < 10
    assert max(map(len, text.splitlines())) < 2000


def test_git_shows_what_changed_in_the_structure(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*words: str) -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "-q", ".")
    (tmp_path / ".gitattributes").write_text("*.pth diff=torch2grid\n", encoding="utf-8")
    git("config", "diff.torch2grid.textconv", "torch2grid tree --format csv --part all --include-buffers --quiet")
    saved(tmp_path, {"a.weight": torch.zeros(3, 4), "b.weight": torch.zeros(5)})
    git("add", "-A")
    git("commit", "-qm", "A model")
    saved(tmp_path, {"a.weight": torch.ones(3, 4), "b.weight": torch.zeros(5)})
    assert not re.findall(r"^[+-][^+-]", git("diff", "-U0"), re.M)
    saved(tmp_path, {"a.weight": torch.ones(3, 4), "b.weight": torch.zeros(6), "c": torch.zeros(1)})
    changed = re.findall(r"^([+-][^+-].*)$", git("diff", "-U0"), re.M)
    assert changed == ['-,b.weight,"(5,)",float32,1,5,20,', '+,b.weight,"(6,)",float32,1,6,24,', '+,c,"(1,)",float32,1,1,4,']


@pytest.mark.parametrize(
    ("word", "meant"),
    [*((word, "tree") for word in ("ls", "show", "info", "list", "inspect", "tre")), ("diff", "compare"), ("chek", "check")],
)
def test_a_word_that_is_no_command_names_the_nearest(word: str, meant: str, tmp_path: Path) -> None:
    saved(tmp_path, {"w": torch.zeros(2, 2)})
    done = torch2grid(word, "m.pth", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"torch2grid: no such command or file: '{word}'; did you mean {meant}?\n"
    assert not (tmp_path / "grids").exists()
    (tmp_path / word).write_bytes((tmp_path / "m.pth").read_bytes())  # a file of that name is a file
    assert torch2grid(word, "-q", cwd=tmp_path).returncode == 0


def test_wrong_usage_ends_with_one_line(tmp_path: Path) -> None:
    for words, said in (
        (("tree",), "Missing argument 'MODEL'"),
        (("tree", "no.pth"), "no such file"),
        (("tree", DIGITS, "--slice", "x"), "--slice"),
    ):
        done = torch2grid(*words, cwd=tmp_path)
        assert done.returncode in (1, 2)
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_nothing_is_imported_that_headers_do_not_need(name: str, tmp_path: Path) -> None:
    tensors = {"w": torch.zeros(3, 4)}
    save_file(tensors, tmp_path / name) if name.endswith("safetensors") else saved(tmp_path, tensors, name)
    words = [sys.executable, "-X", "importtime", "-m", "torch2grid", "tree", name]
    untraced = {each: text for each, text in os.environ.items() if each != TRACING}
    done = subprocess.run(words, cwd=tmp_path, env=untraced, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported
    assert not imported & {
        "torch",
        "pandas",
        "matplotlib",
        "scipy",
        "concurrent.futures",
        "multiprocessing",
        "hashlib",
        "difflib",
    }
    assert not [module for module in imported if module.startswith("torch2grid_core._engine")]

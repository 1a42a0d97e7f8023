"""``check --write-manifest`` and ``--manifest``: what each tensor was, and what is no longer so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._check import digests
from torch2grid_builtin._check.digests import Digest
from torch2grid_core import Checkpoint, LazyTensor, UsageError, measure
from torch2grid_core._engine import reading
from torch2grid_core.measures import workers
from torch2grid_core.sources import BytesStorage

RNG = np.random.default_rng(25)


def model() -> dict[str, np.ndarray[Any, Any]]:
    kinds = {"up.weight": (24, 16), "down.weight": (16, 24), "norm.weight": (16,)}
    made = {f"layers.{number}.{kind}": RNG.normal(size=shape) * 0.02 for number in range(4) for kind, shape in kinds.items()}
    return {name: array.astype(np.float32) for name, array in made.items()}


def saved(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path


def expected_digest(raw: bytes, block: int) -> str:
    hashes = [blake3(raw[start : start + block]).digest() for start in range(0, len(raw), block)]
    return blake3(b"".join(hashes)).hexdigest()


@given(st.data())
def test_a_digest_is_the_hash_of_the_hashes_of_blocks_however_it_is_read(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["f4", "f8", "f2", "u1", "i8"])))
    block = data.draw(st.sampled_from([8, 16, 64, 1024]))
    size = data.draw(st.integers(0, 700))
    array = np.frombuffer(data.draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize)), dtype)
    tensor = LazyTensor("a", (size,), dtype, BytesStorage(array.tobytes()))
    checkpoint = Checkpoint([tensor], source="a", format="memory", aliases={}, parts=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "BLOCK", block)
        patch.setattr(Digest, "aligned", block)
        patch.setattr(reading, "PIECE", data.draw(st.sampled_from([7, 50, 1 << 27])))
        patch.setattr(reading, "SMALL", data.draw(st.sampled_from([0, 1 << 15])))
        (found,) = [results["digest"] for _, results in measure(checkpoint, {"digest": Digest()})]
    assert found == expected_digest(array.tobytes(), block)


def test_pieces_in_other_processes_give_the_same_digest(tmp_path: Path) -> None:
    array = RNG.normal(size=(1 << 10, 40)).astype(np.float32)
    path = saved(tmp_path / "one.safetensors", {"a": array})
    import torch2grid as t2g

    checkpoint = t2g.load(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE", 10_000)
        with workers(checkpoint, 2) as executor:
            ((_, results),) = measure(checkpoint, {"digest": Digest()}, executor=executor)
    assert results["digest"] == expected_digest(array.tobytes(), 64 << 20)


def test_what_is_as_it_was_is_clean_and_a_manifest_is_sorted_json(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.safetensors", model())
    assert torch2grid("check", path, "--write-manifest", "m.json", "-q", cwd=tmp_path).returncode == 0
    text = (tmp_path / "m.json").read_text()
    document = json.loads(text)
    assert list(document["tensors"]) == sorted(document["tensors"])
    assert len(document["tensors"]) == 12
    assert len([line for line in text.splitlines() if '"digest": "' in line and '"dtype"' in line]) == 12  # a line a tensor
    entry = document["tensors"]["layers.0.norm.weight"]
    assert entry["shape"] == [16]
    assert entry["dtype"] == "float32"
    assert entry["count"] == 16
    done = torch2grid("check", path, "--manifest", "m.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert torch2grid("check", path, "--write-manifest", "n.json", "-j", "2", "-q", cwd=tmp_path).returncode == 0
    assert (tmp_path / "n.json").read_text() == text


def changed(tmp_path: Path, tensors: dict[str, Any], *words: str) -> tuple[int, list[str]]:
    """What ``check`` says of *tensors* beside the manifest of ``before``."""
    path = saved(tmp_path / "after.safetensors", tensors)
    done = torch2grid("check", path, "--manifest", "m.json", "--select", "T401", "--format", "json", *words, cwd=tmp_path)
    (found,) = json.loads(done.stdout)["models"]
    return done.returncode, [f"{each['tensor'] or ''}: {each['message']}" for each in found["findings"]]


@pytest.fixture
def before(tmp_path: Path) -> dict[str, Any]:
    tensors = model()
    path = saved(tmp_path / "before.safetensors", tensors)
    assert torch2grid("check", path, "--write-manifest", "m.json", "-q", cwd=tmp_path).returncode == 0
    return tensors


def test_one_flipped_bit_is_found(tmp_path: Path, before: dict[str, Any]) -> None:
    before["layers.2.up.weight"].view(np.uint32)[5, 3] ^= 1
    code, found = changed(tmp_path, before)
    assert code == 1
    assert [each.partition(",")[0].partition(":")[:2] for each in found] == [("layers.2.up.weight", ":")]
    assert "has other weights than the manifest says" in found[0]


def test_added_removed_renamed_converted_and_reshaped_tensors_are_told_apart(tmp_path: Path, before: dict[str, Any]) -> None:
    after = dict(before)
    after["extra.weight"] = np.ones(3, np.float32)
    del after["layers.0.norm.weight"]
    after["blocks.1.norm.weight"] = after.pop("layers.1.norm.weight")
    after["layers.0.up.weight"] = after["layers.0.up.weight"].astype(np.float16)
    after["layers.1.up.weight"] = after["layers.1.up.weight"].reshape(48, 8)
    code, found = changed(tmp_path, after)
    assert code == 1
    assert sorted(found) == [
        ": layers.0.norm.weight is in the manifest, and not here",
        ": layers.1.norm.weight is in the manifest, and not here; blocks.1.norm.weight has its weights",
        "blocks.1.norm.weight: is not in the manifest; it has the weights that layers.1.norm.weight has there",
        "extra.weight: is not in the manifest",
        "layers.0.up.weight: was converted from float32 to float16; its statistics agree",
        "layers.1.up.weight: has shape [48, 8], [24, 16] in the manifest",
    ]


def test_two_layers_exchanged_are_each_told_whose_weights_they_have(tmp_path: Path, before: dict[str, Any]) -> None:
    after = dict(before)
    for kind in ("up.weight", "down.weight", "norm.weight"):
        after[f"layers.1.{kind}"], after[f"layers.3.{kind}"] = before[f"layers.3.{kind}"], before[f"layers.1.{kind}"]
    code, found = changed(tmp_path, after)
    assert code == 1
    assert len(found) == 6
    assert "layers.1.up.weight: has the weights that layers.3.up.weight has in the manifest" in found


def shards(folder: Path, tensors: dict[str, Any]) -> Path:
    folder.mkdir()
    place = {}
    for number in range(4):
        own = {name: array for name, array in tensors.items() if name.startswith(f"layers.{number}.")}
        file = f"model-0000{number + 1}-of-00004.safetensors"
        saved(folder / file, own)
        place.update(dict.fromkeys(own, file))
    total = sum(array.nbytes for array in tensors.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": place}))
    return folder


def test_of_four_shards_the_truncated_the_swapped_and_the_altered_one_are_named(tmp_path: Path) -> None:
    whole = shards(tmp_path / "whole", model())
    assert torch2grid("check", whole, "--write-manifest", "m.json", "-q", cwd=tmp_path).returncode == 0
    assert torch2grid("check", whole, "--manifest", "m.json", cwd=tmp_path).stdout == ""
    second, third = (whole / f"model-0000{number}-of-00004.safetensors" for number in (2, 3))
    kept = second.read_bytes(), third.read_bytes()
    second.write_bytes(kept[0][:-9])
    done = torch2grid("check", whole, "--manifest", "m.json", cwd=tmp_path)
    assert done.returncode == 2
    assert second.name in done.stderr
    second.write_bytes(kept[1])
    third.write_bytes(kept[0])
    done = torch2grid("check", whole, "--manifest", "m.json", cwd=tmp_path)
    assert done.returncode != 0
    assert second.name in done.stdout + done.stderr
    assert third.name in done.stdout + done.stderr
    altered = bytearray(kept[0])
    altered[-3] ^= 0x10
    second.write_bytes(altered)
    third.write_bytes(kept[1])
    done = torch2grid("check", whole, "--manifest", "m.json", "-q", cwd=tmp_path)
    assert done.returncode == 1
    assert "T401 error layers.1." in done.stdout
    assert f", in {second.name} (manifest)" in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ('{"format": "something"}', "not a manifest of torch2grid"),
        (
            '{"format": "torch2grid manifest 1", "tensors": {"a": {"dtype": "float32", "shape": [1]}}}',
            "has dtype, shape and digest",
        ),
        (
            '{"format": "torch2grid manifest 1", "tensors": {"a": {"dtype": "f", "shape": [-1], "digest": "00"}}}',
            "its shape is not a list of lengths",
        ),
        ("[" * 100_000, "not JSON"),
        ('{"format": "torch2grid manifest 1", "tensors": {"a": 1, "b": 2, "a": 1}}', "a is there twice"),
        ('{"format": "torch2grid manifest 1", "tensors": {"a": {"min": NaN}}}', "NaN is not a number of JSON"),
        ('{"format": "torch2grid manifest 1", "digest": "MD5", "tensors": {}}', "its digests are MD5, not BLAKE3"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = saved(tmp_path / "m.safetensors", model())
    (tmp_path / "m.json").write_text(text)
    done = torch2grid("check", path, "--manifest", "m.json", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--manifest m.json" in done.stderr
    assert told in done.stderr


def test_names_that_no_terminal_shows_survive_a_manifest(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.safetensors", {"a\x1b[31m\n\u202eb": np.ones(3, np.float32)})
    assert torch2grid("check", path, "--write-manifest", "m.json", "-q", cwd=tmp_path).returncode in (0, 1)
    assert (tmp_path / "m.json").read_text().isprintable() is False  # line ends alone
    assert "\x1b" not in (tmp_path / "m.json").read_text()
    assert torch2grid("check", path, "--manifest", "m.json", "--select", "T401", cwd=tmp_path).returncode == 0


def test_a_manifest_that_cannot_be_written_and_one_of_several_models_are_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.safetensors", model())
    (tmp_path / "folder").mkdir()
    done = torch2grid("check", path, "--write-manifest", "folder", "-q", cwd=tmp_path)
    assert done.returncode == 2
    assert "--write-manifest" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = torch2grid("check", path, path, "--manifest", "m.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "a manifest describes one model" in done.stderr


def test_a_figure_of_any_size_is_no_fault_of_the_check(tmp_path: Path, before: dict[str, Any]) -> None:
    text = (tmp_path / "m.json").read_text().replace('"count": 16', f'"count": 1{"0" * 400}, "more": 1e999')
    (tmp_path / "m.json").write_text(text)
    before["layers.0.norm.weight"][3] = 0
    code, found = changed(tmp_path, before)
    assert code == 1
    assert found == ["layers.0.norm.weight: has other weights than the manifest says: 1 zeros, 0 before"]


def test_what_files_state_is_judged_whatever_rules_are_selected(tmp_path: Path, before: dict[str, Any]) -> None:
    before["layers.0.up.weight"][0, 0] += 1
    path = saved(tmp_path / "after.safetensors", before)
    (tmp_path / "e.json").write_text('{"tensors": 3}')
    given = ("check", path, "--manifest", "m.json", "--expect", "e.json", "-q")
    done = torch2grid(*given, "--select", "T101", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["T401", "T402"]
    assert {each.code for each in t2g.check(path, select="nan", manifest=tmp_path / "m.json")} == {"T401"}
    done = torch2grid(*given, "--select", "T101", "--ignore", "T4", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_manifest_has_every_tensor_whatever_rules_are_selected(tmp_path: Path, before: dict[str, Any]) -> None:
    path = tmp_path / "before.safetensors"
    assert torch2grid("check", path, "--select", "T1", "--write-manifest", "n.json", "-q", cwd=tmp_path).returncode == 0
    assert (tmp_path / "n.json").read_bytes() == (tmp_path / "m.json").read_bytes()
    done = torch2grid("check", path, "--ignore", "manifest", "--write-manifest", "o.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--write-manifest needs the rule manifest" in done.stderr
    assert not (tmp_path / "o.json").exists()


def test_nothing_is_written_over_what_is_read_or_over_another_report(tmp_path: Path, before: dict[str, Any]) -> None:
    path = tmp_path / "before.safetensors"
    (tmp_path / "link.json").symlink_to(path)
    (tmp_path / "e.json").write_text("{}")
    kept = {each: each.read_bytes() for each in (path, tmp_path / "m.json", tmp_path / "e.json")}
    for words in (
        ("--write-manifest", "before.safetensors"),
        ("--format", "json=../" + tmp_path.name + "/before.safetensors"),
        ("--format", "text,html=link.json"),
        ("--expect", "e.json", "--format", "sarif=e.json"),
        ("--manifest", "m.json", "--format", "sarif=m.json"),
        ("--format", "json=r,html=./r"),
        ("--format", "json=r", "--write-manifest", "r"),
    ):
        done = torch2grid("check", path.name, *words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert {each: each.read_bytes() for each in kept} == kept
        assert not (tmp_path / "r").exists()


def test_what_a_filter_leaves_out_is_not_missing_and_a_slice_is_no_whole_tensor(tmp_path: Path) -> None:
    path, manifest = saved(tmp_path / "model.safetensors", model()), tmp_path / "model.json"
    assert torch2grid("check", path, "-q", "--write-manifest", manifest, cwd=tmp_path).returncode == 0
    for words in (("--only", "layers.2.*"), ("--skip", "*norm*"), ("--tensors", "1-3")):
        done = torch2grid("check", path, "-q", "--manifest", manifest, *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, ""), words
    for option, file in (("--manifest", manifest), ("--write-manifest", tmp_path / "part.json"), ("--expect", manifest)):
        done = torch2grid("check", path, option, file, "--slice", "0:2", cwd=tmp_path)
        assert done.returncode == 2
        assert "about whole tensors" in done.stderr
    assert not (tmp_path / "part.json").exists()
    (tmp_path / "expect.json").write_text('{"tensors": 12}')
    done = torch2grid("check", path, "--expect", tmp_path / "expect.json", "--only", "*up*", cwd=tmp_path)
    assert done.returncode == 2
    assert "--expect cannot be combined with filters" in done.stderr
    with pytest.raises(UsageError, match="about whole tensors"):
        t2g.check(path, manifest=manifest, slice=np.s_[:2])


def test_what_is_not_there_is_one_line_and_a_list_on_verbose(tmp_path: Path) -> None:
    tensors = model()
    whole = saved(tmp_path / "whole.safetensors", tensors)
    less = saved(tmp_path / "less.safetensors", {name: each for name, each in tensors.items() if ".3." not in name})
    expect, names = tmp_path / "expect.json", [f"more.{number}" for number in range(5)]
    expect.write_text(json.dumps({"tensors": 1, "required": names}))
    assert torch2grid("check", whole, "-q", "--write-manifest", tmp_path / "whole.json", cwd=tmp_path).returncode == 0
    few = torch2grid("check", less, "-q", "--manifest", "whole.json", "--select", "T401", cwd=tmp_path).stdout.splitlines()
    assert len(few) == 12 - 9
    empty = saved(tmp_path / "one.safetensors", {"layers.0.up.weight": tensors["layers.0.up.weight"]})
    words = ("check", empty, "-q", "--manifest", "whole.json", "--expect", expect, "--select", "T4")
    lines = torch2grid(*words, cwd=tmp_path).stdout.splitlines()
    gone = [line for line in lines if "in the manifest, and not here" in line]
    (required,) = [line for line in lines if "required" in line]
    assert len(gone) == 1
    assert "T401 error: 11 tensors are in the manifest, and not here; the first: layers.0.down.weight is in" in gone[0]
    assert "T402 error: 5 tensors are required, and not here; the first: no tensor more.0, which is required" in required
    listed = torch2grid(*words, "--verbose", cwd=tmp_path).stdout
    assert listed.count("is in the manifest, and not here") == 1 + 11
    assert listed.count(", which is required") == 1 + 5

"""Decoders: what is stored becomes what is meant, wherever a model is opened, and ``--raw`` shows what is stored."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from tests.support import decoding
from tests.support.decoding import CODES, HALVES, MEANT, SCALE, STORED, Halves, Int8, write
from tests.support.memory import STORE, Plugin as Memory
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid._session import manager as shared
from torch2grid_core import Checkpoint, Decoder, Finding, LoadError, PluginError, PluginManager, Rule, UsageError, check
from torch2grid_core.selection import select

PLUGIN = Path(decoding.__file__)


@pytest.fixture
def manager() -> PluginManager:
    found = PluginManager.discover(third_party=False)
    found.register(decoding)
    return found


def read(checkpoint: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.numpy() for name, tensor in checkpoint.items()}


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_what_is_meant_stands_in_place_of_what_is_stored(manager: PluginManager, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors")
    checkpoint = manager.open(path)
    same(read(checkpoint), {name: MEANT[name] for name in checkpoint})
    assert set(checkpoint) == set(MEANT)
    assert checkpoint["fc1.weight"].note == "int8 × scale, of fc1.weight.codes, fc1.weight.scale"
    assert checkpoint["fc2.weight"].note == "rows joined, of fc2.weight.half0, fc2.weight.half1"
    assert checkpoint["fc1.bias"].note == ""
    assert {name: (each.by, each.of) for name, each in checkpoint.composed.items()} == {
        "fc1.weight": ("int8", ("fc1.weight.codes", "fc1.weight.scale")),
        "fc2.weight": ("halves", ("fc2.weight.half0", "fc2.weight.half1")),
    }
    raw = manager.open(path, raw=True)
    same(read(raw), {name: STORED[name] for name in raw})
    assert set(raw) == set(STORED) == set(checkpoint.stored)
    assert raw.stored is raw


def test_any_part_of_a_composed_tensor_is_read_alone(manager: PluginManager, tmp_path: Path) -> None:
    checkpoint = manager.open(write(tmp_path / "m.safetensors"))
    for name, whole in MEANT.items():
        tensor = checkpoint[name]
        np.testing.assert_array_equal(tensor.read(7, 29), whole.reshape(-1)[7:29])
        np.testing.assert_array_equal(tensor[3:30:2], whole[3:30:2])


def test_each_command_shows_what_is_meant_and_raw_what_is_stored(tmp_path: Path) -> None:
    write(tmp_path / "packed.safetensors")
    write(tmp_path / "plain.safetensors", MEANT)

    def run(*words: str) -> Any:
        return torch2grid(*words, "--load-plugin", PLUGIN, cwd=tmp_path)

    drawn = run("packed.safetensors", "--stats", "--format", "json")
    assert drawn.returncode == 0, drawn.stderr
    assert "3 tensors, " in drawn.stderr
    assert "1 tensor decoded by halves" in drawn.stderr
    assert "1 tensor decoded by int8" in drawn.stderr
    assert "fc1.weight.codes" in run("packed.safetensors", "--raw", "--stats").stdout
    assert "decoded" not in run("packed.safetensors", "--raw", "--stats").stderr

    compared = run("compare", "packed.safetensors", "plain.safetensors", "--stats")
    assert (compared.returncode, compared.stderr.count("decoded by int8")) == (0, 1)
    assert run("compare", "packed.safetensors", "plain.safetensors", "--stats", "--raw").returncode == 1

    write(tmp_path / "nan.safetensors", {**STORED, "fc1.weight.scale": np.where(np.arange(40) == 3, np.nan, SCALE)})
    checked = json.loads(run("check", "nan.safetensors", "--select", "nan", "--format", "json").stdout)
    assert "fc1.weight" in json.dumps(checked)
    assert "fc1.weight.scale" not in json.dumps(checked)
    assert "fc1.weight.scale" in run("check", "nan.safetensors", "--select", "nan", "--raw", "--format", "json").stdout


def test_pictures_of_what_is_meant_are_those_of_a_file_that_stores_it(tmp_path: Path) -> None:
    for name, tensors in (("packed", STORED), ("plain", MEANT)):
        write(tmp_path / f"{name}.safetensors", tensors)
        words = ["--layers", "--format", "json", "-o", name, "--jobs", "2", "--load-plugin", PLUGIN]
        done = torch2grid(f"{name}.safetensors", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for name in MEANT:
        packed, plain = (json.loads((tmp_path / each / "layers" / f"{name}.json").read_text()) for each in ("packed", "plain"))
        assert packed["panels"][0] == plain["panels"][0]


def test_python_shows_what_is_meant(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors")
    record = shared().register(decoding)
    try:
        assert set(t2g.load(path)) == set(t2g.load(dict(STORED))) == set(MEANT)
        assert set(t2g.load(path, raw=True)) == set(t2g.load(dict(STORED), raw=True)) == set(STORED)
        assert "fc1.weight" in str(t2g.stats(path))
        assert "fc1.weight.codes" in str(t2g.stats(path, raw=True))
        assert t2g.compare(path, dict(MEANT)).same
        assert not t2g.compare(path, dict(MEANT), raw=True).same
    finally:
        shared().records.remove(record)
        shared()._indexed.clear()


def test_parts_names_and_order_stay(manager: PluginManager, tmp_path: Path) -> None:
    model = {name: torch.from_numpy(np.asarray(each)) for name, each in STORED.items()}
    state = {0: {"exp_avg": torch.ones(4, 4), "exp_avg_sq": torch.ones(4, 4)}}
    groups = [{"params": [0], "lr": 0.1}]
    torch.save({"optimizer": {"state": state, "param_groups": groups}, "model": model}, tmp_path / "run.pth")
    checkpoint = manager.open(tmp_path / "run.pth")
    raw = manager.open(tmp_path / "run.pth", raw=True)
    assert [part.name for part in checkpoint.parts] == [part.name for part in raw.parts]
    shown = select(checkpoint)
    same(read(shown.checkpoint), MEANT)
    assert shown.hidden == select(raw).hidden
    assert list(shown.checkpoint.composed) == ["fc1.weight", "fc2.weight"]
    assert {part.name for part in checkpoint.part_of.values()} == {part.name for part in checkpoint.parts}
    assert set(shown.checkpoint.stored) == {f"model.{name}" for name in STORED}
    assert checkpoint.ordered().in_file_order() == list(checkpoint)


def test_tied_codes_are_tied_weights(manager: PluginManager, tmp_path: Path) -> None:
    codes, scale = torch.from_numpy(CODES), torch.from_numpy(SCALE)
    other = torch.from_numpy(SCALE * 2)
    tensors = {"a.codes": codes, "a.scale": scale, "b.codes": codes, "b.scale": scale, "c.codes": codes, "c.scale": other}
    torch.save(tensors, tmp_path / "m.pth")
    checkpoint = manager.open(tmp_path / "m.pth")
    assert checkpoint.aliases == {"b": "a"}  # c has the codes of a, and another scale
    assert checkpoint.parameters == 2 * CODES.size
    assert select(checkpoint).checkpoint.aliases == {"b": "a"}


def test_codes_without_a_scale_stay_codes_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path / "m.safetensors", {"fc1.weight.codes": CODES})
    done = torch2grid("m.safetensors", "--stats", "--load-plugin", PLUGIN, cwd=tmp_path)
    assert "note: fc1.weight.codes stays codes: its scale is not here" in done.stderr
    assert "decoded" not in done.stderr


def test_damage_beneath_is_found_by_a_pass_and_by_check_where_nothing_reads_it(manager: PluginManager, tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(np.asarray(each)) for name, each in STORED.items()}
    path = tmp_path / "m.pth"
    torch.save(tensors, path)
    raw = path.read_bytes()
    for victim in (CODES, SCALE):
        path.write_bytes(raw.replace(victim.tobytes()[:60], victim.tobytes()[1:61], 1))
        with pytest.raises(LoadError, match="damaged"):
            manager.open(path)["fc1.weight"].numpy()
        with pytest.raises(LoadError, match="damaged"):
            check(manager.open(path), [manager.create("rule", "nan")])

    class Forgets(Int8):
        """reads no scale"""

        name = "forgets"

        def decode(self, checkpoint: Checkpoint) -> Checkpoint:
            found = checkpoint["fc1.weight.codes"]
            made = type(found)("fc1.weight", found.shape, found.dtype, found.storage, found.offset)
            return checkpoint.compose([made], self.claims(checkpoint), self.name)

    bare = PluginManager.discover(third_party=False)
    bare.register(Forgets)
    with pytest.raises(LoadError, match="damaged"):
        check(bare.open(path), [manager.create("rule", "nan")])


@dataclass(frozen=True)
class Names(Rule):
    """names what it is shown"""

    name: ClassVar[str] = "names"
    code: ClassVar[str] = "X100"
    judges: ClassVar[Literal["values", "weights", "file"]] = "file"
    told: list[str] = field(default_factory=list)

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> list[Finding]:
        return [Finding("is here", name) for name in checkpoint]


@dataclass(frozen=True)
class Weights(Names):
    """names the weights"""

    name: ClassVar[str] = "weights"
    code: ClassVar[str] = "X099"
    judges: ClassVar[Literal["values", "weights", "file"]] = "weights"


def test_rules_about_the_file_see_the_file(manager: PluginManager, tmp_path: Path) -> None:
    checkpoint = manager.open(write(tmp_path / "m.safetensors"))
    found = check(checkpoint, [Weights(), Names()])
    assert [each.code for each in found] == ["X099"] * 3 + ["X100"] * 5
    assert {each.tensor for each in found if each.rule == "names"} == set(STORED)
    assert {each.tensor for each in found if each.rule == "weights"} == set(MEANT)
    some = check(checkpoint.select(["fc2.weight"]), [Names()])
    assert [each.tensor for each in some] == ["fc2.weight.half0", "fc2.weight.half1"]


class Same(Halves):
    """claims the same halves"""

    name = "same"


class SameName(Decoder):
    """makes what another makes"""

    name = "same_name"

    def claims(self, checkpoint: Checkpoint) -> Any:
        return {"fc2.weight": ["fc1.bias"]}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint.compose([], {}, self.name)


@pytest.mark.parametrize(("other", "name"), [(Same, "fc2.weight"), (SameName, "fc2.weight")])
def test_two_that_claim_one_tensor_are_an_error_naming_both(other: type, name: str, tmp_path: Path) -> None:
    found = PluginManager.discover(third_party=False)
    found.register(Halves)
    found.register(other)
    path = write(tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=rf"Halves/halves and {other.__name__}/\w+ both claim '{name}.*--raw"):
        found.open(path)
    assert set(found.open(path, raw=True)) == set(STORED)


def deciding(claims: Any, decode: Callable[[Any, Checkpoint], Any]) -> type:
    """A decoder of these two answers."""
    decode.__name__ = "decode"
    members = {"name": "wrong", "claims": lambda self, checkpoint: claims, "decode": decode, "__doc__": "wrong"}
    return type("Wrong", (Decoder,), members)


def _raises(self: Any, checkpoint: Checkpoint) -> Any:
    raise RuntimeError("no\nway")


HALF = {"fc2.weight": ["fc2.weight.half0"]}


def composing(name: str, claims: Mapping[str, Any] = HALF, **changes: Any) -> Callable[[Any, Checkpoint], Checkpoint]:
    def decode(self: Any, checkpoint: Checkpoint) -> Checkpoint:
        found = checkpoint["fc2.weight.half0"]
        shape = changes.get("shape", found.shape)
        return checkpoint.compose([type(found)(name, shape, found.dtype, found.storage)], claims, self.name)

    return decode


WRONG: dict[str, tuple[Any, Any, str]] = {
    "raises": (HALF, _raises, "decode: RuntimeError: no way"),
    "claims no mapping": ([1], _raises, "claims returned a list, not a mapping of names"),
    "claims nothing stored": ({"a": ["b"]}, _raises, "claims: 'a' is of 'b', which is not stored"),
    "claims nothing": ({"a": []}, _raises, "claims: 'a' is of no stored tensor"),
    "claims numbers": ({"a": [1]}, _raises, "claims: 'a' is of a list, not of a list of names"),
    "claims a text": ({"a": "fc1.bias"}, _raises, "claims: 'a' is of 'fc1.bias', not of a list of names"),
    "returns nothing": (HALF, lambda self, checkpoint: None, "decode returned None, not a Checkpoint"),
    "does not compose": (HALF, lambda self, checkpoint: checkpoint, "decode did not compose 'fc2.weight', which it claims"),
    "composes another": (HALF, composing("x"), "'x': of no stored tensor"),
    "takes a name": (HALF, composing("fc1.bias", {"fc1.bias": ["fc2.weight.half0"]}), "the file stores another tensor"),
    "composes of nothing": (HALF, composing("x", {"x": ["y"]}), "'x': 'y' is not there"),
}


@pytest.mark.parametrize("about", WRONG)
def test_one_that_fails_is_one_line_of_its_plugin(about: str, tmp_path: Path) -> None:
    claims, decode, said = WRONG[about]
    found = PluginManager.discover(third_party=False)
    found.register(deciding(claims, decode))
    path = write(tmp_path / "m.safetensors")
    with pytest.raises(PluginError, match=f"decoder 'wrong'.*{said}") as failure:
        found.open(path)
    assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 1
    assert set(found.open(path, raw=True)) == set(STORED)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    found = PluginManager.discover(third_party=False)
    found.register(deciding(HALF, composing("fc2.weight", shape=(9000, 9000))))
    with pytest.raises(LoadError, match=r"^fc2\.weight: as decoder 'wrong' composes it, needs 324000000 bytes"):
        found.open(write(tmp_path / "m.safetensors"))


def test_a_failing_decoder_leaves_one_line_on_the_screen(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from torch2grid_core import Decoder\n\n\nclass Bad(Decoder):\n    'fails'\n\n    name = 'bad'\n\n"
        "    def claims(self, checkpoint):\n        raise ValueError('broken')\n\n    decode = claims\n"
    )
    write(tmp_path / "m.safetensors")
    for words, code in (((), 1), (("check",), 2), (("compare",), 2)):
        models = ["m.safetensors"] * (2 if words == ("compare",) else 1)
        done = torch2grid(*words, *models, "--load-plugin", "bad.py", cwd=tmp_path)
        assert done.returncode == code
        lines = [line for line in done.stderr.splitlines() if "broken" in line]
        assert lines == ["torch2grid: decoder 'bad': claims: ValueError: broken"]


class TestBeside:
    """Small neighbours, from wherever the checkpoint was opened."""

    def test_of_a_file_a_packed_file_and_a_folder(self, manager: PluginManager, tmp_path: Path) -> None:
        import gzip

        path = write(tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text("{}")
        assert manager.open(path).beside("config.json") == b"{}"
        assert manager.open(tmp_path).beside("config.json") == b"{}"
        assert select(manager.open(path)).checkpoint.select(["fc1.bias"]).beside("config.json") == b"{}"
        assert manager.open(path).beside("nothing.json") is None
        (tmp_path / "sub.json").mkdir()
        assert manager.open(path).beside("sub.json") is None
        (tmp_path / "z.gz").write_bytes(gzip.compress(path.read_bytes()))
        assert manager.open(tmp_path / "z.gz").beside("config.json") == b"{}"
        assert manager.open(path, "safetensors").beside("config.json") == b"{}"

    def test_of_an_unpacked_archive(self, manager: PluginManager, tmp_path: Path) -> None:
        torch.save({"a": torch.ones(3)}, tmp_path / "m.pth")
        zipfile.ZipFile(tmp_path / "m.pth").extractall(tmp_path)
        assert manager.open(tmp_path / "m").beside("byteorder") == b"little"

    def test_behind_a_network(self, manager: PluginManager, tmp_path: Path) -> None:
        manager.register(Memory())
        STORE.update({"x/m.safetensors": write(tmp_path / "m.safetensors").read_bytes(), "x/config.json": b"[]"})
        try:
            assert manager.open("memory://x/m.safetensors").beside("config.json") == b"[]"
        finally:
            STORE.clear()

    def test_of_what_was_not_opened_there_is_nothing(self) -> None:
        assert Checkpoint({}).beside("config.json") is None

    @pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "a/b", "..\\x", "C:x", "a\0b"])
    def test_no_name_leads_elsewhere(self, name: str, manager: PluginManager, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("x")
        (tmp_path / "in").mkdir()
        checkpoint = manager.open(write(tmp_path / "in" / "m.safetensors"))
        with pytest.raises(LoadError, match="is not the name of a file beside it"):
            checkpoint.beside(name)

    def test_a_large_one_is_not_read(self, manager: PluginManager, tmp_path: Path) -> None:
        path = write(tmp_path / "m.safetensors")
        with (tmp_path / "config.json").open("wb") as stream:
            stream.truncate((4 << 20) + 1)
        with pytest.raises(LoadError, match="has 4,194,305 bytes; at most 4,194,304 are read of a neighbour"):
            manager.open(path).beside("config.json")


def test_halves_that_fit_are_what_was_cut() -> None:
    np.testing.assert_array_equal(MEANT["fc2.weight"][:8], HALVES[0])

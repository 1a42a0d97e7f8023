"""Programs of torch.export: their tensors, whatever layout, and what loading one would evaluate or unpickle."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fuzz.exports import old_program
from tests.hostile.test_evasions import said_of
from tests.support.loaders.opened import opened, same
from tests.support.tools import torch2grid

from torch2grid_builtin._loaders.program_code import is_guard, is_operator, is_size
from torch2grid_core import LoadError

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Net(torch.nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.tied = self.layer.weight
        self.register_buffer("turned", torch.arange(12.0).reshape(3, 4).t())
        self.register_buffer("some", torch.arange(8).to(dtype)[2:6])
        self.register_buffer("empty", torch.ones(0, 3))
        self.register_buffer("passing", torch.ones(4), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x) + self.passing + torch.tensor([1.0, 2.0, 3.0, 4.0]) + self.turned.sum()
        return y.reshape(-1)[x.shape[0] // 3 :] * (x.shape[0] + 1)


def saved(path: Path, net: torch.nn.Module | None = None, dynamic: bool = True, **more: Any) -> dict[str, torch.Tensor]:
    """A program of *net*, and its state dict."""
    net = net or Net()
    shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (torch.ones(6, 4),), dynamic_shapes=shapes), path, **more)
    return {**net.state_dict()}


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(path: Path, change: Callable[[dict[str, bytes]], Any], deflated: bool = False) -> Path:
    """The archive with its records changed, by their names below the first folder."""
    found = {name.partition("/")[2]: raw for name, raw in records(path).items()}
    change(found)
    target = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for name, raw in found.items():
            archive.writestr(f"m/{name}", raw)
    return target


def test_views_ties_constants_and_empty_tensors(tmp_path: Path) -> None:
    state = saved(tmp_path / "a.pt2", extra_files={"note.txt": "cos\nsystem\n"})
    for path in (tmp_path / "a.pt2", changed(tmp_path / "a.pt2", lambda found: None, deflated=True)):
        checkpoint = opened(path)
        assert set(state) < set(checkpoint)
        assert all(same(checkpoint[name], value) for name, value in state.items())
        assert same(checkpoint["passing"], torch.ones(4))
        assert checkpoint["lifted_tensor_0"].numpy().tolist() == [1, 2, 3, 4]
        assert "2 of its tensors are constants of the program" in checkpoint.notes
        assert len(checkpoint.aliases) == 1
        assert checkpoint.not_run == ()


DTYPES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128", "bool"]
DTYPES += ["bfloat16", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str, tmp_path: Path) -> None:
    state = saved(tmp_path / "a.pt2", Net(getattr(torch, dtype)), dynamic=False)
    assert same(opened(tmp_path / "a.pt2")["some"], state["some"])


def test_layouts_of_before(tmp_path: Path) -> None:
    """State dicts that torch.save wrote: in 2.8 within the archive's folders, before that beside the program."""
    (tmp_path / "old.pt2").write_bytes(old_program())
    assert list(opened(tmp_path / "old.pt2")) == ["turned", "layer.weight", "layer.bias"]
    state = saved(tmp_path / "a.pt2")
    held, constants = io.BytesIO(), io.BytesIO()
    torch.save(state, held)
    torch.save({"c": torch.ones(3)}, constants)

    def older(found: dict[str, bytes]) -> None:
        for name in [name for name in found if name.startswith(("data/weights/", "data/constants/"))]:
            del found[name]
        found |= {"data/weights/model.pt": held.getvalue(), "data/constants/model.pt": constants.getvalue()}

    checkpoint = opened(changed(tmp_path / "a.pt2", older))
    assert list(checkpoint) == [*state, "c"]
    assert all(same(checkpoint[name], value) for name, value in state.items())


def test_several_programs_and_pickled_weights(tmp_path: Path) -> None:
    from torch.export.pt2_archive._package import package_pt2

    programs = {name: torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),)) for name in ("one", "two")}
    package_pt2(str(tmp_path / "both.pt2"), exported_programs=programs)
    checkpoint = opened(tmp_path / "both.pt2")
    for name, program in programs.items():
        assert all(same(checkpoint[f"{name}.{key}"], value) for key, value in program.state_dict.items())

    saved(tmp_path / "a.pt2")
    single = io.BytesIO()
    torch.save(torch.full((4,), 7.0), single)

    def pickled(found: dict[str, bytes]) -> None:
        config = json.loads(found["data/weights/model_weights_config.json"])
        config["config"]["layer.bias"].update(path_name="weight_99", use_pickle=True)
        found["data/weights/model_weights_config.json"] = json.dumps(config).encode()
        found["data/weights/weight_99"] = single.getvalue()

    assert opened(changed(tmp_path / "a.pt2", pickled))["layer.bias"].numpy().tolist() == [7] * 4


def entry(name: str, **values: Any) -> Callable[[dict[str, bytes]], None]:
    """A change of what the list of weights says of *name*."""

    def change(found: dict[str, bytes]) -> None:
        config = json.loads(found["data/weights/model_weights_config.json"])
        for key, value in values.items():
            (config["config"][name] if key in ("path_name", "use_pickle") else config["config"][name]["tensor_meta"])[key] = (
                value
            )
        found["data/weights/model_weights_config.json"] = json.dumps(config).encode()

    return change


def whole(raw: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda found: found.update({"data/weights/model_weights_config.json": raw})


WRONG: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a shape beyond": (entry("layer.bias", sizes=[{"as_int": 400}]), "does not fit its record"),
    "a stride beyond": (entry("layer.bias", strides=[{"as_int": 2**40}]), "does not fit its record"),
    "an offset beyond": (entry("layer.bias", storage_offset={"as_int": 1}), "does not fit its record"),
    "a negative length": (entry("layer.bias", sizes=[{"as_int": -1}]), "not a list of numbers"),
    "a length of 2**70": (entry("layer.bias", sizes=[{"as_int": 2**70}]), "not a list of numbers"),
    "a text": (entry("layer.bias", sizes="4"), "not a list of numbers"),
    "a symbol": (entry("layer.bias", sizes=[{"as_expr": {"expr_str": "s0"}}]), "not a list of numbers"),
    "too many dimensions": (entry("layer.bias", sizes=[{"as_int": 1}] * 65), "not a list of numbers"),
    "fewer strides": (entry("layer.bias", strides=[]), "does not fit its record"),
    "another record": (entry("layer.bias", path_name="weight_98"), "without the record of 'layer.bias'"),
    "a record elsewhere": (entry("layer.bias", path_name="../../models/model.json"), "does not say where"),
    "a pickle that is none": (entry("layer.bias", use_pickle=True), "does not open"),
    "no JSON": (whole(b"{"), "that is not JSON"),
    "a list": (whole(b"[]"), "that is not one"),
    "nested 10,000 deep": (whole(b"[" * 10_000 + b"]" * 10_000), "list of weights that is"),
    "no list": (lambda found: found.pop("data/weights/model_weights_config.json"), "without the list of its weights"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_refused(kind: str, tmp_path: Path) -> None:
    change, told = WRONG[kind]
    saved(tmp_path / "a.pt2", dynamic=False)
    with pytest.raises(LoadError) as caught:
        opened(changed(tmp_path / "a.pt2", change))
    assert told in str(caught.value)
    assert "is a program that torch.export saved (.pt2)" in str(caught.value)


def test_what_has_no_numbers_is_skipped(tmp_path: Path) -> None:
    saved(tmp_path / "a.pt2", dynamic=False)
    for values, told in (({"layout": 1}, "layout 1"), ({"dtype": 99}, "dtype 99"), ({"dtype": None}, "dtype None")):
        checkpoint = opened(changed(tmp_path / "a.pt2", entry("layer.bias", **values)))
        assert "layer.bias" not in checkpoint
        assert told in next(skip.reason for skip in checkpoint.skipped if skip.name == "layer.bias")


def in_program(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(found: dict[str, bytes]) -> None:
        text = found["models/model.json"].decode()
        assert old in text
        found["models/model.json"] = text.replace(old, new).encode()

    return change


EVIL = b"\x80\x02cos\nmkdir\n(X\x08\x00\x00\x00t2g-madetR."
SYMBOL = "Symbol('s"
RUNS: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a size that is code": (
        in_program('"expr_str": "FloorDiv(', '"expr_str": "exec(\'import os\') or FloorDiv('),
        "sympy.sympify(",
    ),
    "a size, by an attribute": (
        in_program(f'"expr_str": "{SYMBOL}', f'"expr_str": "().__class__ or {SYMBOL}'),
        "sympy.sympify(",
    ),
    "a guard that is code": (
        in_program('"guards_code": [', "\"guards_code\": [\"__import__('os').mkdir('x')\", "),
        "builtins.exec(",
    ),
    "a target": (in_program("torch.ops.aten.linear.default", "torch.os.system"), "torch.os.system"),
    "a target of operator": (in_program("_operator.floordiv", "_operator.methodcaller"), "_operator.methodcaller"),
    "an operator that writes": (in_program("torch.ops.aten.linear.default", "torch.ops.aten.from_file.default"), "from_file"),
    "sample inputs": (lambda found: found.update({"data/sample_inputs/model.pt": EVIL}), "os.mkdir"),
    "an opaque constant": (lambda found: found.update({"data/constants/opaque_obj_0": EVIL}), "os.mkdir"),
    "a weight that is a pickle": (lambda found: found.update({"data/weights/weight_77": EVIL}), "os.mkdir"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_what_loading_would_run_is_said(kind: str, tmp_path: Path) -> None:
    change, told = RUNS[kind]
    saved(tmp_path / "a.pt2")
    path = changed(tmp_path / "a.pt2", change)
    said = said_of(tmp_path, [path.name])[path.name]
    assert told in said, said
    assert "a.pt2: T304" in said or "not run" in said


def test_an_honest_program_is_clean(tmp_path: Path) -> None:
    saved(tmp_path / "a.pt2")
    run = torch2grid("check", "a.pt2", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout
    assert "torch.export program" in run.stderr


def test_sizes_guards_and_operators() -> None:
    good = ["s0", "2*s77 + 1", "FloorDiv(Symbol('s77', positive=True, integer=True), Integer(3))", "Max(1, s0//2)", "1.5e-3*s0"]
    assert all(map(is_size, good))
    bad = [
        "os.system('x')",
        "exec(s0)",
        "__import__(s0)",
        "Symbol(evil())",
        "(lambda: 1)()",
        "Add(s0)(1)",
        "'x'",
        "s0.foo",
        "[s0]",
        "a\nb",
    ]
    assert not any(map(is_size, bad))
    guards = [
        "L['x'].size()[0] <= 100",
        "L['args'][0].size()[1] % 8 == 0 and not (L['a']['b'].stride()[0] == 1)",
        "math.ceil(L['x'].size()[0]) > 1",
    ]
    assert all(map(is_guard, guards))
    assert not any(
        map(is_guard, ["L['x'].__class__", "os.system(1)", "L['x'].data()", 'L["x"]', "open('x')", "L['x'].size().foo()"])
    )
    assert all(map(is_operator, ["torch.ops.aten.add.Tensor", "_operator.mul", "math.trunc", "torch.sym_max", "plain text"]))
    assert not any(
        map(
            is_operator, ["torch.hub.load", "torch.os.system", "torch.ops.aten.__class__", "_operator.attrgetter", "torch.save"]
        )
    )

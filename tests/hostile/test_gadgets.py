"""Chains of harmless names that run something: what PyTorch calls while it fills an object of the list must be plain.

Each file is loaded for real in a child process, and the code of each only creates a folder.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tests.hostile.test_evasions import said_of, touched
from tests.support.hostile.evasions import CANARY, OTHER, OTHER_SOURCE, Evasion, Files, before, both, call, many, name, text
from tests.support.tools import torch2grid

from torch2grid_builtin._inert.allowed import ALLOWED, CALL, MAKE
from torch2grid_builtin._inert.filled import SHADOWED

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the children are forked, and call what Linux has"),
    pytest.mark.filterwarnings("ignore"),
]
NO, YES = b"\x89", b"\x88"
_HOOKS = ("_parameters", "_buffers", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks")


def mapping(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def made(module: str, attribute: str, /, **state: bytes) -> bytes:
    """An object of a class, filled."""
    return name(module, attribute) + b")\x81" + mapping(**state) + b"b"


def layer(module: str, attribute: str, /, **state: bytes) -> bytes:
    hooks = dict.fromkeys((*_HOOKS, "_modules"), b"}")
    return made(module, attribute, **{**hooks, "training": YES, **state})


def calling(path: str) -> bytes:
    """An object of harmless classes that makes the folder *path* when it is called, whatever it is given.

    ``_PartialWrapper`` calls what it has for ``callable_args``, and ``ParametrizationList`` a function with a chosen argument.
    """
    act = name("torch.nn.utils.parametrize", "ParametrizationList") + b")\x81"
    modules = b"}" + text("0") + name(OTHER, "act") + b"s"
    hooks = dict.fromkeys(_HOOKS, b"}")
    act += mapping(**hooks, _modules=modules, is_tensor=YES, original=text(path), training=YES, ntensors=b"K\x01") + b"b"
    wrapped = {"p": name("torch.nn.modules.linear", "Identity"), "callable_args": b"}" + text("k") + act + b"s"}
    return made("torch.ao.quantization.observer", "_PartialWrapper", **wrapped)


def space(**attributes: bytes) -> bytes:
    return made("types", "SimpleNamespace", **attributes)


SGD, ADAM = ("torch.optim.sgd", "SGD"), ("torch.optim.adam", "Adam")
_GROUPS = {"param_groups": b"]", "defaults": b"}", "state": b"}"}


def of_type(function: bytes, kind: bytes, args: bytes, state: bytes) -> bytes:
    """What PyTorch rebuilds of a subclass: whatever *function* makes gets *state*, by ``__setstate__`` of its class."""
    return call(name("torch._tensor", "_rebuild_from_type_v2"), function, kind, args, state)


def chains(path: str) -> dict[str, bytes]:
    """What makes the folder *path* while it is loaded, by where PyTorch calls."""
    f = calling(path)
    values = space(values=f)
    sequential = layer("torch.nn.modules.container", "Sequential", _modules=values)
    later = b"]q\xe0" + made(*SGD, **{**_GROUPS, "param_groups": b"h\xe0"}) + b"q\xe1" + b"h\xe0" + space(setdefault=f)
    ordered = call(name("collections", "OrderedDict")) + mapping(setdefault=f) + b"b"
    tensor = call(name("torch", "Tensor"), many(b"G" + bytes(8)))
    handle = name("torch.utils.hooks", "RemovableHandle") + b")\x81"
    keyed = made(
        "torch.distributed._shard.metadata", "ShardMetadata", shard_offsets=sequential, shard_sizes=b"]", placement=b"N"
    )
    random = name("random", "Random") + b")\x81"
    return {
        "defaults": made(*SGD, **{**_GROUPS, "defaults": space(setdefault=f)}),
        "defaults of a namespace": made(*SGD, **{**_GROUPS, "defaults": made("argparse", "Namespace", setdefault=f)}),
        "defaults of a mapping": made(*SGD, **{**_GROUPS, "defaults": ordered}),
        "defaults of a layer": made(
            *SGD, **{**_GROUPS, "defaults": layer("torch.nn.modules.linear", "Identity", setdefault=f)}
        ),
        "a group": made(*SGD, **{**_GROUPS, "param_groups": many(space(setdefault=f))}),
        "groups": made(*SGD, **{**_GROUPS, "param_groups": sequential}),
        "a group, added later": later + b"a0h\xe1}b\x86\x86",
        "state": made(*ADAM, **{**_GROUPS, "param_groups": many(mapping(params=many(b"K\x01"))), "state": space(get=f)}),
        "a method": made(*SGD, **_GROUPS, _patch_step_function=f),
        "what is missing": call(name("collections", "defaultdict"), f)
        + b"q\xe2"
        + made(*ADAM, **{**_GROUPS, "param_groups": many(b"h\xe2")})
        + b"\x86",
        "children": layer("torch.nn.modules.activation", "Softmax", _parameters=sequential),
        "weights": layer("torch.nn.modules.rnn", "LSTM", _all_weights=sequential, proj_size=b"K\x00"),
        "a state": name("torch.nn.modules.linear", "Identity") + b")\x81" + space(keys=f) + b"b",
        "a question to a state": name("torch.nn.modules.activation", "MultiheadAttention") + b")\x81" + sequential + b"b",
        "a handle": handle + both(b"}", b"K\x01", sequential) + b"b",
        "a key": b"}" + keyed + b"Ns",
        "an item": b"\x8f(" + keyed + b"\x90",
        "a size": call(name("torch", "Size"), sequential),
        "data": call(name("torch._utils", "_rebuild_parameter"), space(detach=f), NO, b"}"),
        "data of a tensor": call(name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"), space(to=f), b"N", b"N", NO),
        "state of a parameter": call(name("torch._utils", "_rebuild_parameter_with_state"), tensor, NO, b"}", space(items=f)),
        "state of a rebuilt optimizer": of_type(
            name("copyreg", "__newobj__"),
            name(*SGD),
            both(name(*SGD)),
            mapping(**{**_GROUPS, "param_groups": many(space(setdefault=f))}),
        ),
        "state of a reconstructed optimizer": of_type(
            name("copyreg", "_reconstructor"),
            name(*SGD),
            both(name(*SGD), name("builtins", "object"), b"N"),
            mapping(**{**_GROUPS, "param_groups": many(space(setdefault=f))}),
        ),
        "a number": call(name("uuid", "UUID"), space(replace=f)),
        "times": call(name("time", "struct_time"), sequential),
        "setstate": space(__setstate__=f) + b"Nb",
        "append": space(append=f) + b"K\x01a",
        "extend": space(extend=f) + b"(K\x01e",
        "add": space(add=f) + b"(K\x01\x90",
        "setstate of a layer": layer("torch.nn.modules.linear", "Identity")
        + b"N"
        + mapping(forward=f, __setstate__=f)
        + b"\x86b",
        "random numbers": random + both(b"K\x02", sequential, b"N") + b"b",
        "a version": name("torch.torch_version", "TorchVersion")
        + layer("torch.nn.modules.linear", "Identity", extra_repr=f)
        + b"\x85\x81",
    }


SOME_RUN = 12  # of them with any PyTorch that is supported: what it calls differs from version to version


def test_chains_of_harmless_names(tmp_path: Path) -> None:
    (tmp_path / f"{OTHER}.py").write_text(OTHER_SOURCE)
    files = Files(tmp_path)
    evasions = []
    for label in chains("x"):
        for kind, write, suffix in (("zip", files.write_zip, ".pt"), ("legacy", files.write_legacy, ".pth")):
            file = f"{len(evasions):03}{suffix}"
            payload = chains(f"{CANARY}/{len(evasions):03}")[label]
            if kind == "zip":
                write(file, before, payload)
            else:
                write(file, 3, before, payload)
            evasions.append(Evasion(f"{label}; {kind}", file, "torch", ""))
    ran = touched(tmp_path, evasions)
    said = said_of(tmp_path, [each.file for each in evasions])
    unsaid = [(each.name, said[each.file][:300]) for each in evasions if "calls " not in said[each.file]]
    assert unsaid == []
    unheard = [each.name for each in evasions if each.file not in ran]
    assert len(ran) >= 2 * SOME_RUN, unheard


def classes() -> dict[str, type]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, level in ALLOWED.items():
            module, _, attribute = path.rpartition(".")
            if level in (MAKE, CALL) and module.startswith("torch"):
                try:
                    each = getattr(importlib.import_module(module), attribute, None)
                except ImportError:
                    continue
                if isinstance(each, type):
                    found[path] = each
    return found


# The classes of the list whose filling runs code of PyTorch: what each calls was read, and ``filled.py`` knows of it.
READ = """
_dataclass_setstate AvgPool3d DeviceMesh DistributedDataParallel GradScaler LinearPackedParams LogSoftmax Module
MultiheadAttention Optimizer RNNBase RemovableHandle Softmax Softmin Tensor TensorProperties TransformerDecoderLayer
TransformerEncoderLayer Upsample _ConvNd _WrappedHook
Adadelta Adafactor Adagrad Adam AdamW Adamax ASGD NAdam RAdam RMSprop Rprop SGD
"""


def test_every_setstate_of_the_list_was_read() -> None:
    """A class with a ``__setstate__`` that nobody has looked at is no class for the list."""
    owners = set()
    for each in classes().values():
        function = inspect.getattr_static(each, "__setstate__", None)
        function = getattr(function, "__func__", function)
        # torch.export, in the same process, has put one of its own in the place of Module's
        if inspect.isfunction(function) and not function.__module__.startswith("torch._dynamo"):
            owners.add(function.__qualname__.split(".")[0])
    assert owners <= set(READ.split()), owners - set(READ.split())
    assert len(owners) > 25


def test_every_method_of_modules_and_optimizers_is_known() -> None:
    """An attribute in place of any of them is a finding."""
    for each in (torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler):
        methods = {key for kind in each.__mro__[:-1] for key, value in vars(kind).items() if inspect.isfunction(value)}
        unknown = {key for key in methods if not key.startswith("__")} - SHADOWED
        assert not unknown, unknown


@pytest.mark.parametrize("attribute", ["forward", "_call_impl", "state_dict", "_compiled_call_impl", "set_weight_bias"])
def test_an_attribute_in_place_of_a_method(attribute: str, tmp_path: Path) -> None:
    files = Files(tmp_path)
    values = {"function": name("torch.nn.functional", "relu"), "layer": layer("torch.nn.modules.linear", "Identity")}
    for label, value in values.items():
        files.write_zip(f"{label}.pt", before, layer("torch.nn.modules.linear", "Linear", **{attribute: value}))
    files.write_zip("plain.pt", before, layer("torch.nn.modules.linear", "Linear", **{attribute: b"N"}))
    for file, said in said_of(tmp_path, [f"{label}.pt" for label in values]).items():
        assert "calls torch.nn.modules.linear.Linear.__setstate__" in said, file
    assert torch2grid("check", "--no-plugins", "plain.pt", "--select", "T304", cwd=tmp_path).returncode == 0


def test_a_module_of_a_stream_that_is_no_class(tmp_path: Path) -> None:
    """A persistent id of a legacy stream names a class with its source text, which PyTorch compares."""
    files = Files(tmp_path)
    linear, source = name("torch.nn.modules.linear", "Linear"), text("class Linear: pass\n")
    files.write_legacy("plain.pth", 3, before, both(text("module"), linear, text("a.py"), source) + b"Q")
    assert torch2grid("check", "--no-plugins", "plain.pth", "--select", "T304", cwd=tmp_path).returncode == 0
    of_others = both(text("module"), name(OTHER, "Thing"), text("a.py"), source) + b"Q"
    files.write_legacy("other.pth", 3, before, of_others)
    wrong = {
        "object": both(text("module"), space(__name__=text("x")), text("a.py"), source) + b"Q",
        "source": both(text("module"), linear, text("a.py"), space(split=calling("x"))) + b"Q",
        "patches": linear
        + b"N"
        + mapping(dump_patches=YES)
        + b"\x86b0"
        + both(text("module"), linear, text("a.py"), source)
        + b"Q",
    }
    for label, payload in wrong.items():
        files.write_legacy(f"{label}.pth", 3, before, payload)
    said = said_of(tmp_path, ["other.pth", *(f"{label}.pth" for label in wrong)])
    assert f"imports {OTHER}.Thing" in said["other.pth"]
    assert "a module whose class or source is something else" in said["object.pth"]
    assert "a module whose class or source is something else" in said["source.pth"]
    assert "sets the state of torch.nn.modules.linear.Linear" in said["patches.pth"]


def test_what_training_writes_is_plain(tmp_path: Path) -> None:
    """Optimizers and layers as they are, in whatever an argument parser or a mapping holds them."""
    import argparse
    import collections
    import types

    model = torch.nn.Sequential(torch.nn.LSTM(2, 2), torch.nn.Linear(2, 2), torch.nn.Softmax(0))
    optimizer = torch.optim.Adam(model.parameters())
    model[1](torch.ones(2)).sum().backward()
    optimizer.step()
    namespace = argparse.Namespace(optimizer=optimizer, activation=torch.nn.functional.relu, add=True, append=[1])
    simple = types.SimpleNamespace(model=model, args=namespace, loss=torch.nn.MSELoss())
    handle = model[1].register_forward_hook(torch.nn.Identity())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    kept = collections.OrderedDict(model=model, schedule=schedule)
    torch.save(
        {"simple": simple, "handle": handle, "kept": kept, "qconfig": torch.ao.quantization.default_qconfig}, tmp_path / "a.pt"
    )
    run = torch2grid("check", "--no-plugins", "a.pt", "--select", "T304", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr

"""What PyTorch calls while it fills an object of the allow-list, and what may stand there: nothing that could be called.

A class on the list is harmless to make. Some run code of their own when they are filled (``Optimizer.__setstate__`` calls
``self.defaults.setdefault``), and an object that holds any attribute answers with whatever it was given. So what such code
looks into must be plain: Python's containers, numbers, texts, tensors. ``tests/hostile/test_gadgets.py`` reads the classes of
the installed PyTorch and has a file for each of the kinds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert.allowed import CALL, IMPORT, MAKE
from torch2grid_builtin._inert.values import TENSOR, Bag, Global, NumpyArray, Pairs, PersistentValue, Stub, state_halves, text
from torch2grid_builtin._inert.verdicts import family

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work

# Attributes that ``__setstate__``, ``__getattr__`` and ``__setattr__`` of modules and optimizers ask for their items.
_ITEMS = """
_parameters _buffers _modules _backward_hooks _backward_pre_hooks _forward_hooks _forward_hooks_with_kwargs
_forward_hooks_always_called _forward_pre_hooks _forward_pre_hooks_with_kwargs _state_dict_hooks _state_dict_pre_hooks
_load_state_dict_pre_hooks _load_state_dict_post_hooks _non_persistent_buffers_set __dict__
"""
_MAPPINGS = frozenset(_ITEMS.split())
# Of those with code that looks further into them, all that is inside must be plain, too.
_DEEP = {
    "torch.optim.": frozenset(["defaults", "param_groups", "state"]),
    "torch.nn.modules.rnn.": frozenset(["_all_weights", "all_weights", "_flat_weights", "_flat_weights_names"]),
    "torch.nn.parallel.distributed.": frozenset(["logger", "reducer", "process_group"]),
}
# Methods of modules, optimizers and schedules: an attribute of the object is called in their place.
_METHODS = """
_accelerator_graph_capture_health_check _infer_parameters _lazy_load_hook _apply _call_impl _compiled_call_impl
_cuda_graph_capture_health_check _get_backward_hooks _get_backward_pre_hooks _get_name _initial_step _load_from_state_dict
_maybe_warn_non_full_backward_hook _named_members _optimizer_step_code _patch_step_function
_process_value_according_to_param_policy _register_load_state_dict_pre_hook _register_state_dict_hook
_replicate_for_data_parallel _save_to_state_dict _slow_forward _update_lr _wrapped_call_impl
_group_tensors_by_device_and_dtype add_module add_param_group apply bfloat16 buffers children compile cpu cuda double eval
extra_repr float forward get_buffer get_extra_state get_last_lr get_lr get_parameter get_submodule half ipu load_state_dict
modules mtia named_buffers named_children named_modules named_parameters parameters profile_hook_step register_backward_hook
register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
register_state_dict_post_hook register_state_dict_pre_hook register_step_post_hook register_step_pre_hook requires_grad_
set_extra_state set_submodule set_weight_bias share_memory state_dict step to to_empty train type xpu zero_grad
"""
SHADOWED = frozenset(_METHODS.split())
# What unpicklers themselves look for on an object, and call.
_ASKED = frozenset(["append", "extend", "add", "items"])
_HOLDERS = frozenset(["types.SimpleNamespace", "argparse.Namespace"])
# Called with objects as what they keep, not as what they look into; the containers of Python among them.
_KEEPING = frozenset(
    f"{module}.{name}"
    for module, names in {
        "builtins": "dict set frozenset list tuple slice object",
        "__builtin__": "dict set frozenset list tuple slice object",
        "collections": "OrderedDict defaultdict Counter deque",
        "ordereddict": "OrderedDict",
        "types": "SimpleNamespace",
        "argparse": "Namespace",
    }.items()
    for name in names.split()
)
# Tuples with names: made of what they hold.
_TUPLES = frozenset(["QConfig", "QConfigDynamic", "PackedSequence", "PackedSequence_", "ShardOrderEntry", "TensorMeta"])
# Made of a class that they are given, of whatever package, or with attributes of a tensor, which may be of any.
_OF_CLASSES = frozenset(["_reconstruct", "_rebuild_wrapper_subclass", "_rebuild_parameter_with_state"])
# Called without arguments for what a mapping has not, beside the containers and numbers of Python.
_FACTORIES = frozenset(
    [
        "builtins.str",
        "__builtin__.str",
        "__builtin__.unicode",
        "torch.amp.grad_scaler._refresh_per_optimizer_state",
        "torch.cuda.amp.grad_scaler._refresh_per_optimizer_state",
    ]
)
_OPAQUE = frozenset(["_RequiredParameter", "UUID", "ScriptObject"])  # whose attributes nobody chooses
_NO_NAMES: frozenset[str] = frozenset()


def is_held(value: Any) -> bool:
    """True for an object that may have any attributes, or whose class calls what it has: no plain value."""
    if type(value) is not Stub or value.how in ("judged", TENSOR) or type(value.root) is not Global:
        return False
    root = value.root
    return root.allowed == MAKE or (root.allowed == CALL and (root.path in _HOLDERS or value.state is not None))


def is_callable(value: Any) -> bool:
    """True for a name, and for an object that is no tensor: what is called in place of a method."""
    return type(value) in (Global, PersistentValue) or (type(value) is Stub and value.how != TENSOR and _is_allowed(value))


def _is_allowed(value: Stub) -> bool:
    return (type(value.root) is Global and value.root.allowed >= IMPORT) or value.how == "judged"


def is_foreign(value: Any) -> bool:
    """True for a name of another package, and for an object made of one: what it answers when it is asked is not known."""
    root = value.root if type(value) is Stub and value.how != TENSOR else value
    return type(root) is Global and root.allowed < IMPORT and not root.judged and not family(root.module, root.name)


def answers(work: Work, state: Any) -> bool:
    """True where *state* gives a mapping attributes that somebody would ask for: all but ``_metadata`` of a state dict."""
    for half in state_halves(state) or (state,):
        if not isinstance(half, Pairs):
            if half is not None:
                return True
            continue
        work.pairs(len(half.pairs))
        if any(text(key) != "_metadata" for key, _ in half.pairs):
            return True
    return False


def is_factory(value: Any) -> bool:
    """True for what a ``defaultdict`` may call for a missing key: a plain type, or a partial of one."""
    if value is None:
        return True
    if type(value) is Global:
        return value.allowed == CALL or value.path in _FACTORIES
    if type(value) is Stub and value.how == "judged" and value.path == "functools.partial":
        return type(value.args[0]) is Global and is_factory(value.args[0])  # its state is judged where it is set
    return False


def given(machine: Any, function: Global, args: tuple[Any, ...], how: str) -> Any:
    """The first of *args*, and of what containers in it hold, that is no plain value, where that may be called.

    ``None`` where there is none: a tensor, a date or a path is made of numbers and texts.
    """
    if function.allowed < MAKE or function.path in _KEEPING or (how != "call" and function.last in _TUPLES):
        return None
    return object_in(machine, args, function.last not in _OF_CLASSES)


def object_in(machine: Any, values: tuple[Any, ...] | list[Any], foreign: bool = True) -> Any:
    """The first of *values*, and of what is in containers and arrays among them, that may be called or asked for anything.

    foreign: names and objects of other packages are such, too.
    """
    waiting: list[Any] = [values]
    seen: set[int] = set()
    while waiting:
        here = waiting.pop()
        machine.work.spend(len(here))
        for each in here:
            kind = type(each)
            if kind is Stub or kind is Global:
                if is_held(each) or (foreign and is_foreign(each)):
                    return each
                continue
            inside: Any = each
            if kind is Pairs:
                if each.state is not None and answers(machine.work, each.state):
                    return Stub(Global("collections", each.kind), (each.state,))
                inside = each.pairs
            elif kind is Bag:
                inside = each.items
            elif kind is NumpyArray:
                inside = each.objects
            if type(inside) in (list, tuple) and inside and id(inside) not in seen:
                seen.add(id(inside))
                waiting.append(inside)
    return None


def give_state(machine: Any, stub: Stub, state: Any) -> None:
    """``BUILD``, and whatever else fills an object with *state*: kept in *stub*, and judged when all of it is there."""
    function = stub.function
    if stub.how == "judged":
        judge_state(machine, stub, state)
    elif type(function) is not Global or function.allowed < MAKE:
        machine.actions.note("state", function, stub)
    elif type(stub.root) is Global:
        machine.filled.states.append((stub, state))
        machine.holding = True
    if stub.state is None:
        stub.state = []
    stub.state.append(state)


def judge_state(machine: Any, stub: Stub, state: Any) -> None:
    """Add to the record a state that is given to the result of a judged call, where it makes something else of it.

    A partial keeps its function, random numbers are made of plain values; nothing else of ``judged.py`` has a state.
    """
    root: Global = stub.root
    if root.path == "functools.partial":
        wrong = _wrong_partial(machine, stub, state)
    elif root.path.startswith("numpy.random."):
        wrong = object_in(machine, (state,)) is not None
    else:
        wrong = True
    if wrong:
        machine.actions.note("state", root, Stub(root, (*stub.args, state)), certain=True)


def _wrong_partial(machine: Any, stub: Stub, state: Any) -> bool:
    """``partial.__setstate__((function, args, keywords, attributes))``: the function stays, and gets plain values."""
    if type(state) is not tuple or len(state) != 4:
        return True
    function, args, keywords, attributes = state
    if not stub.args or function is not stub.args[0] or type(args) is not tuple:
        return True
    if not all(half is None or isinstance(half, Pairs) for half in (keywords, attributes)):
        return True
    if type(function) is Global and function.path == "collections.defaultdict" and not is_factory(args[0] if args else None):
        return True
    if isinstance(attributes, Pairs) and any(type(value) in (Global, Stub) for _, value in attributes.pairs):
        return True
    return object_in(machine, (args, keywords)) is not None


class Filled:
    """What the pickles of a machine fill and take for keys, judged when all of it is there: at the end of each pickle."""

    def __init__(self) -> None:
        self.states: list[tuple[Stub, Any]] = []
        self.keys: list[Stub] = []
        self.plain: set[int] = set()  # containers that were looked through

    def judge(self, machine: Any) -> None:
        """Add to the machine's record what PyTorch would call. Raises ``Malformed`` where looking costs too much."""
        states, keys, self.states, self.keys = self.states, self.keys, [], []
        for stub, state in states:
            found = self._state(machine, stub, state)
            if found is not None:
                note(machine, stub.root, "__setstate__", found)
        for key in keys:
            found = self._inside(machine, [key.args, *(key.state or ())])
            if found is not None:
                note(machine, key.root, "__hash__", found)
        self.plain.clear()

    def _state(self, machine: Any, stub: Stub, state: Any) -> Any:
        """What is in *state* that would be called, or gives what it likes to code that looks into it; ``None`` if nothing."""
        root = stub.root
        halves = state_halves(state)
        if halves is not None and root.allowed == MAKE and halves[1] is not None and not _has_slots(root):
            return Stub(Global("builtins", "setattr"), (halves[1],))  # not by __dict__: descriptors of the class run
        if halves is None and not isinstance(state, Pairs):
            if root.last == "RemovableHandle" and type(state) is tuple and len(state) in (2, 3):
                return self._handle(machine, state)
            return self._inside(machine, [state], foreign=True)
        deep = next((names for prefix, names in _DEEP.items() if root.path.startswith(prefix)), _NO_NAMES)
        everything = root.path.startswith("torch.distributed.") or root.allowed == CALL
        for half in halves or (state,):
            if half is None:
                continue
            machine.work.pairs(len(half.pairs))
            for key, value in half.pairs:
                name = text(key)
                if type(key) is Stub:  # it may be equal to any text, as that of a class that extends it is
                    return key
                if name is None or type(value) not in (Stub, Global, PersistentValue, Pairs, list, tuple, Bag):
                    continue
                if name == "default_factory" and root.last == "defaultdict" and not is_factory(value):
                    return value
                if is_foreign(value) and root.allowed == MAKE and (name in SHADOWED or name in _MAPPINGS or name in deep):
                    return value
                if is_callable(value):
                    if (name in _ASKED or name[:2] == "__") or (root.allowed == MAKE and name in SHADOWED):
                        return value
                    if root.allowed == MAKE and (name in _MAPPINGS or name in deep):
                        return value
                if name in deep or (everything and root.path not in _HOLDERS):
                    found = self._inside(machine, [value], foreign=name in deep)
                    if found is not None:
                        return found
        return None

    def _handle(self, machine: Any, state: tuple[Any, ...]) -> Any:
        """Of a handle of a hook: (hooks, number, more hooks), which are mappings of anything."""
        more: Any = state[2] if len(state) > 2 else None
        mappings: list[Any] = [state[0]]
        mappings += more if type(more) in (list, tuple) else [more]
        return next((each for each in mappings if is_callable(each) or is_foreign(each)), None) or self._inside(
            machine, [state[1]]
        )

    def _inside(self, machine: Any, values: Iterable[Any], foreign: bool = False) -> Any:
        """The first object below *values* that is no plain value. foreign: one of another package's class is none."""
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind is Stub:
                if foreign and is_foreign(value):
                    return value
                if not is_held(value):
                    continue
                if not _is_description(value) and value.root.last not in _OPAQUE:
                    return value
                inside: list[Any] = [value.args, *(value.state or ())]
            elif kind is Pairs:
                inside = [part for pair in value.pairs for part in pair]
            elif kind is list or kind is tuple:
                inside = value
            elif kind is Bag:
                inside = value.items
            else:
                continue
            if inside and id(value) not in self.plain:
                self.plain.add(id(value))
                machine.work.spend(len(inside))
                waiting.extend(each for each in inside if type(each) in (Stub, Pairs, list, tuple, Bag))
        return None


def note(machine: Any, root: Global, method: str, found: Any) -> None:
    """Add to the record that *method* of a class would call *found*."""
    callee = Global(root.module, f"{root.name}.{method}")
    machine.actions.note("call", callee, Stub(callee, (found,)), certain=True)


def judge_attributes(machine: Any, owner: Global, state: Any) -> None:
    """Add to the record what becomes an attribute of a mapping or a tensor and would be called in place of a method."""
    for half in state_halves(state) or (state,):
        if isinstance(half, Pairs):
            machine.work.pairs(len(half.pairs))
            for key, value in half.pairs:
                name = text(key) or ""
                if type(key) is Stub:
                    note(machine, owner, "__setattr__", key)
                    continue
                factory = name == "default_factory" and owner.last == "defaultdict"
                if (
                    (factory and not is_factory(value))
                    or (is_held(value) and not _is_description(value))
                    or (is_callable(value) and (name in _ASKED or name[:2] == "__"))
                ):
                    note(machine, owner, "__setattr__", value)
        elif is_callable(half):
            note(machine, owner, "__setstate__", half)


def _is_description(value: Stub) -> bool:
    """True for what says how a tensor is spread over processes: such objects cannot be called, and what is in them is read."""
    return bool(value.root.path.startswith("torch.distributed."))


def _has_slots(root: Global) -> bool:
    """True for a class whose objects have slots, which are filled one by one."""
    return root.path.startswith("torch.distributed.") or root.path.startswith("torch._dynamo.decorators.")

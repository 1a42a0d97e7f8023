"""What every class promises, whatever its kind."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
from typing import Any

from torch2grid_core._errors import PluginError, UsageError
from torch2grid_core._methods import mistakes
from torch2grid_core._plugins.options import build, no_options, opens, options_of, wrong_default, wrong_setting
from torch2grid_core.testing._subject import NotConforming, Subject, check, expect

_LONGEST = 120


@check()
def metadata(subject: Subject) -> None:
    """A name that can be typed, the same for every instance, and a summary of one line."""
    first, second = subject.make(), subject.make()
    name = first.name
    expect(isinstance(name, str) and name.isprintable(), f"name is {name!r}, not a text that can be typed")
    expect(not any(char in ":/," or char.isspace() for char in name), f"{name!r} holds a space, ':', '/' or ','")
    expect(second.name == name, f"two instances are named {name!r} and {second.name!r}")
    own = any("description" in vars(cls) for cls in subject.cls.__mro__ if not cls.__module__.startswith("torch2grid_core."))
    written = subject.cls.__doc__ and not subject.cls.__doc__.startswith(f"{subject.cls.__name__}(")  # a dataclass's own
    expect(written or own, f"{subject.cls.__name__} has no docstring: its first line is what listings show")
    described = first.description if own else inspect.getdoc(subject.cls) or ""
    line = subject.lazy.summary if subject.lazy else described.strip().partition("\n")[0]
    expect(line.strip(), f"the summary of {subject.cls.__name__} is empty")
    expect(len(line) <= _LONGEST, f"the summary has {len(line)} characters, at most {_LONGEST} fit a line: {line!r}")


@check()
def options(subject: Subject) -> None:
    """Each option is a dataclass field with a type, a default of that type and help; an unknown one is refused."""
    if subject.provided is not None:  # as a run reads them
        try:
            subject.provided.options()
        except PluginError as error:
            raise NotConforming(error.reason) from error
    found = options_of(subject.cls)
    expect("name" not in found, "name is an option: write it without an annotation, or as ClassVar[str]")
    for option in found.values():
        wrong = wrong_default(option) if opens(option.type) and subject.kind != "settings" else wrong_setting(option)
        expect(not wrong, f"option {option.name!r} {wrong}")
        expect(option.help.strip(), f"option {option.name!r} has no help: field(default, metadata={{'help': '…'}})")
    subject.make(**{option.name: option.default for option in found.values()})
    lost = no_options(subject.cls)
    expect(not lost, f"{lost}, or say ClassVar in the annotation")
    try:
        build(subject.cls, {"no_such_option": "1"}, "it")
    except UsageError:
        return
    expect(False, "an unknown option is taken without an error")


@check()
def announced(subject: Subject) -> None:
    """What a Lazy says of a class without importing it is so: its name, a renderer's formats, a filter's flag."""
    if subject.lazy is None:
        return
    made = subject.make()
    expect(made.name == subject.lazy.name, f"Lazy says {subject.lazy.name!r}, the class is named {made.name!r}")
    for key, said in subject.lazy.facts.items():
        found = getattr(made, key, None)
        expect(found == said, f"Lazy says {key}={said!r}, the class has {found!r}")
    for key, usual in (("flag", ""), ("accepts", "bytes"), ("folders", ()), ("always", False)):
        found = getattr(made, key, usual)
        expect(found == subject.lazy.facts.get(key, usual), f"its {key} is not announced: Lazy(…, {key}={found!r})")


@check()
def does_something(subject: Subject) -> None:
    """It overrides what its kind calls, under the right name, and asks for what it draws."""
    wrong = mistakes(subject.cls)
    expect(not wrong, "; ".join(wrong))


@check("transformer", "view", "renderer")
def pickling(subject: Subject) -> None:
    """An instance survives pickle, its options too: work is done in other processes."""
    instance = subject.make()
    copy = pickle.loads(pickle.dumps(instance))
    expect(type(copy) is subject.cls, f"a pickled copy is {type(copy).__name__}")
    expect(copy.name == instance.name, f"a pickled copy is named {copy.name!r}")
    expect(_values(copy) == _values(instance), "a pickled copy has other options")


def _values(instance: Any) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in options_of(type(instance))}


_MAIN = "__main__"
_CHECKING = "TORCH2GRID_CHECKING_IMPORT"  # set in the interpreter that imports a module to see what that brings in
_IMPORT_SECONDS = 120


@check()
def no_torch_at_import(subject: Subject) -> None:
    """Importing its module does not import torch, nor matplotlib: every command would pay for that."""
    module = subject.cls.__module__
    file = _file_of(subject.cls)
    if module == _MAIN:  # the script that is run: under that name, it would do again what it does now
        if not file:
            return  # typed at a prompt
        module = getattr(sys.modules[_MAIN].__spec__, "name", "torch2grid_checked_script")
    heavy = _heavy_imports(module, file)
    expect(not heavy, f"importing {subject.cls.__module__} imports {heavy}: import it where it is used")


def _file_of(cls: type) -> str:
    """The source file of a class, empty where there is none."""
    try:
        file = inspect.getsourcefile(cls) or ""
    except (TypeError, OSError):
        return ""
    return file if os.path.isfile(file) else ""


_SCRIPT = """
import importlib, importlib.util, sys
module, file = sys.argv[1:3]
if file:
    spec = importlib.util.spec_from_file_location(module, file)
    loaded = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
else:
    importlib.import_module(module)
print()
print(*[name for name in ("torch", "matplotlib.pyplot") if name in sys.modules])
"""


@functools.cache
def _heavy_imports(module: str, file: str) -> str:
    """The heavy modules that importing *module* brings in, found in a fresh interpreter."""
    nested = "this runs while the module is imported; put what runs the checks below  if __name__ == '__main__':"
    expect(_CHECKING not in os.environ, nested)
    try:
        known = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        known = False
    if known and "." not in module:  # what ``--load-plugin`` loaded is in sys.modules, and found by nobody else
        known = any(finder.find_spec(module, None) is not None for finder in sys.meta_path if hasattr(finder, "find_spec"))
    words = [sys.executable, "-c", _SCRIPT, module, "" if known else file]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), _CHECKING: "1"}
    try:
        run = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotConforming(f"importing {module} takes more than {_IMPORT_SECONDS} s in a fresh interpreter") from None
    expect(run.returncode == 0, f"{module} cannot be imported in a fresh interpreter: {run.stderr.strip()[-300:]}")
    return ", ".join(run.stdout.splitlines()[-1].split())

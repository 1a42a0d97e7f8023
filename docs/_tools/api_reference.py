"""The reference, from signatures, docstrings and the command line: ``python docs/_tools/api_reference.py``.

It writes the pages in ``docs/reference/``, which are checked in, so that they are read without building the site. A test
compares them with the code.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch2grid_core

sys.path.insert(0, str(Path(__file__).parent))
from command_reference import reference

REFERENCE = Path(__file__).parents[1] / "reference"
WIDTH = 100  # of a signature in one line
_NOTE = "<!-- Written by `make reference` from the code: change the docstrings there. -->"
_OWN = (
    "load", "tree", "draw", "grid", "layers", "histograms", "conv", "stats", "dead_neurons", "outliers", "spectrum",
    "heads", "experts", "quantization", "vocabulary", "measure", "check",
    "gradients", "optimizer", "compare", "series", "Pages", "Comparison", "Series", "Tree", "Measured", "CheckResult",
    "save_gradients",
    "GradientRecorder",
)  # fmt: skip
_FILES = (
    "loader.load_torch_model",
    "inspector.inspect_torch_object",
    "layer_visualizer.visualize_layers",
    "layer_visualizer.create_layer_overview",
    "histogram.visualize_all_histograms",
    "histogram.create_histogram_overview",
    "histogram.compare_layer_statistics",
    "conv_visualizer.visualize_all_conv_layers",
    "interactive.interactive_mode",
    "transformer.to_neutral_grid",
    "visualizer.visualize_grid",
    "plugins.registry.get_registry",
)
_SPECIAL = ("__call__", "__getitem__", "__iter__", "__len__", "__enter__", "__exit__")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
_CODE = re.compile(r"(``.+?``|`.+?`)", re.DOTALL)
_MODULE = re.compile(r"(?<![\w.])(?:[a-z_]\w*\.)+(?=[A-Za-z_])|~")  # and the mark of a type variable
_EMPTY = inspect.Parameter.empty


def pages() -> dict[Path, str]:
    """The pages by their paths."""
    made = {
        "api.md": _tidy(_api()),
        "hooks.md": _tidy(_hooks()),
        "checks.md": _tidy(_checks()),
        "command-line.md": reference(torch2grid_core.PluginManager.discover(third_party=False)),
    }
    return {REFERENCE / name: text for name, text in made.items()}


def _tidy(parts: Iterable[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)).rstrip() + "\n"


def _api() -> Iterator[str]:
    yield "# Python API"
    yield _NOTE
    yield "## torch2grid"
    yield (
        "`import torch2grid as t2g`. Every function takes a path, an open `Checkpoint`, a live `nn.Module` or a state dict.\n"
        "`Checkpoint`, `Distribution`, `Grid`, `LazyTensor` and `Page` are those of\n[`torch2grid_core`](#torch2grid_core). "
        '`Patterns` are globs of names, one text or several; `Positions` numbers and ranges\n(`3`, `"1,3-5"`) or several; '
        '`Named` is a name with options, `"largest:count=5"` or `{"largest": {"count": 5}}`;\n`Filters` are such names, '
        "instances of `TensorFilter`, or several of them. `settings` are the options of the\n[command line](command-line.md) "
        "under the same names, with `_` for `-`; an unknown one is an error that names the nearest."
    )
    for name in _OWN:
        yield from entry("torch2grid", name)
    yield "## Files in one call"
    yield (
        "Functions that write into a folder of your choice, `from torch2grid.layer_visualizer import visualize_layers`.\n"
        "*tensors* is whatever `load_torch_model` or `inspect_torch_object` returns, or a mapping of name to array."
    )
    for path in _FILES:
        module, _, name = path.rpartition(".")
        yield from entry(f"torch2grid.{module}", name, full=True)
    for module in modules():
        yield f'<a id="{module}"></a>'
        yield f"## {module}"
        yield (
            "What plugin authors import: `from torch2grid_core import GridTransformer, hookimpl`, and from the modules below\n"
            "it. Nothing else of the framework is promised."
            if module == "torch2grid_core"
            else _prose(importlib.import_module(module).__doc__)
        )
        for name in importlib.import_module(module).__all__:
            yield from entry(module, name)


def _hooks() -> Iterator[str]:
    from torch2grid_core import _hookspecs

    yield "# Hooks"
    yield _NOTE
    yield (
        "What torch2grid asks plugins, from the specifications themselves. [Write a plugin](../plugins/index.md) has a page\n"
        "with an example for each. The event `torch2grid_written` will be removed in 0.3: a\n"
        "[listener](../plugins/listeners.md) hears more."
    )
    yield _prose(_hookspecs.__doc__).partition("\n\n")[2]
    for name, hook in vars(_hookspecs.Hooks).items():
        if name.startswith("torch2grid_"):
            yield f"## {name}"
            yield _fenced(signature(name, hook, method=True))
            yield _prose(hook.__doc__)
    yield "## Lazy"
    yield from _class("torch2grid_core", "Lazy", _hookspecs.Lazy)


def _checks() -> Iterator[str]:
    """A table for each kind: the checks of its own, those of every kind first."""
    from torch2grid_core._kinds import KINDS
    from torch2grid_core.testing import checks

    yield "# Checks of the conformance kit"
    yield _NOTE
    yield "What the kit checks of each class of a plugin: [Test a plugin](../plugins/testing.md) says how to run it."
    common = [each for each in checks("loader") if not each.kind]
    for title, found in [("every kind", common), *((kind, checks(kind)) for kind in KINDS)]:
        rows = [f"| `{each.name}` | {_cell(each.description)} |" for each in found if found is common or each.kind]
        yield f"## {title.capitalize()}"
        yield "\n".join(["| check | promise |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def modules() -> list[str]:
    """``torch2grid_core`` and its modules whose names have no underscore."""
    inner = [each.name for each in pkgutil.iter_modules(torch2grid_core.__path__) if not each.name.startswith("_")]
    return ["torch2grid_core", *(f"torch2grid_core.{name}" for name in inner)]


def entry(module: str, name: str, full: bool = False) -> Iterator[str]:
    """A public name: where links find it, what it takes, what it says, and its members."""
    value = getattr(importlib.import_module(module), name)
    yield f'<a id="{module}.{name}"></a>'
    yield f"### {f'{module}.{name}' if full else name}"
    if inspect.isclass(value):
        yield from _class(module, name, value)
    elif inspect.isroutine(value):
        yield _fenced(signature(name, value))
        yield _prose(value.__doc__)
    else:
        yield _fenced(f"{name} = {_quoted(_text(value))}")


def _class(module: str, name: str, cls: type) -> Iterator[str]:
    bases = map(_annotation, vars(cls).get("__orig_bases__", cls.__bases__))
    own = [f"`{base}`" for base in bases if not re.match(r"(object|ABC|Generic|Protocol)\b", base)]
    yield _fenced(_constructor(name, cls) or f"class {name}")
    if own:
        yield f"Bases: {', '.join(own)}"
    documented = not (cls.__doc__ or "").startswith(f"{cls.__name__}(")  # which dataclasses write by themselves
    init = vars(cls).get("__init__")
    said = [
        _prose(cls.__doc__ if documented else ""),
        _prose(getattr(init, "__doc__", "") if inspect.isfunction(init) and not dataclasses.is_dataclass(cls) else ""),
    ]
    yield from said
    members = [*_attributes(cls), *(each for key, member in vars(cls).items() for each in _member(key, member))]
    if members and "**\n\n- " in "".join(said):
        yield "**Members**"  # one list would run into the other
    yield "\n".join(members)


def _constructor(name: str, cls: type) -> str:
    """How an instance is made; empty for a class that is made by nobody, or takes nothing."""
    if getattr(cls, "_is_protocol", False) or (issubclass(cls, BaseException) and "__init__" not in vars(cls)):
        return ""
    if not any("__init__" in vars(base) for base in cls.__mro__[:-1]):
        return ""
    factories = {
        each.name: each.default_factory
        for each in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ())
        if each.default_factory is not dataclasses.MISSING
    }
    return signature(name, vars(cls).get("__init__") or cls.__init__, method=True, factories=factories, result=False)  # type: ignore[misc]


def _attributes(cls: type) -> Iterator[str]:
    """The annotated attributes that are no fields, for subclasses to set."""
    fields = {each.name for each in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    for name, kind in vars(cls).get("__annotations__", {}).items():
        if not name.startswith("_") and name not in fields:
            value = vars(cls).get(name, _EMPTY)
            given = (
                "" if value is _EMPTY or not isinstance(value, (str, int, float, tuple, bool, type(None))) else f" = {value!r}"
            )
            yield f"- `{name}: {_annotation(kind)}{given}`"
    if issubclass(cls, enum.Enum):
        yield from (f"- `{each.name} = {each.value!r}`" for each in cls)


def _member(key: str, member: Any) -> Iterator[str]:
    if key.startswith("_") and key not in _SPECIAL:
        return
    wrapped = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    if isinstance(wrapped, property) or hasattr(wrapped, "func"):  # a cached property
        function = wrapped.fget if isinstance(wrapped, property) else wrapped.func
        said, returned = wrapped.__doc__ or function.__doc__, getattr(function, "__annotations__", {}).get("return", "")
        head = f"`{key}{f': {_annotation(returned)}' if returned else ''}`"
    elif inspect.isfunction(wrapped):
        said = wrapped.__doc__
        head = f"`{signature(key, wrapped, method=not isinstance(member, staticmethod), width=10_000)}`"
    else:
        return
    if said:
        first, _, rest = _prose(said).partition("\n\n")
        yield f"- {head}  \n" + _indented(first) + (f"\n\n{_indented(rest)}\n" if rest else "")


def signature(
    name: str,
    function: Any,
    *,
    method: bool = False,
    factories: Mapping[str, Any] | None = None,
    result: bool = True,
    width: int = WIDTH,
) -> str:
    """``name(parameters) -> result``, a line for each parameter where one line is too long. method: without the first."""
    found = inspect.signature(function)
    given = list(found.parameters.values())[1 if method else 0 :]
    words, before = [], None
    for each in given:
        if before is inspect.Parameter.POSITIONAL_ONLY and each.kind is not before:
            words.append("/")
        starred = before in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            words.append("*")
        words.append(_parameter(each, factories or {}))
        before = each.kind
    if before is inspect.Parameter.POSITIONAL_ONLY:
        words.append("/")
    end = f" -> {_annotation(found.return_annotation)}" if result and found.return_annotation is not _EMPTY else ""
    words, end = list(map(_quoted, words)), _quoted(end)
    line = f"{name}({', '.join(words)}){end}"
    return line if len(line) <= width else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){end}"


def _parameter(given: inspect.Parameter, factories: Mapping[str, Any]) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(given.kind, "")
    kind = "" if given.annotation is _EMPTY else f": {_annotation(given.annotation)}"
    if given.default is _EMPTY:
        return f"{stars}{given.name}{kind}"
    factory = factories.get(given.name)
    value = _text(given.default) if factory is None else f"{factory.__name__}()" if factory.__name__ != "<lambda>" else "…"
    return f"{stars}{given.name}{kind}{' = ' if kind else '='}{value}"


def _annotation(kind: Any) -> str:
    plain = inspect.isclass(kind) and not hasattr(kind, "__origin__")
    written = kind if isinstance(kind, str) else kind.__name__ if plain else repr(kind)
    return _MODULE.sub("", re.sub(r"ForwardRef\('(.*?)'\)", r"\1", written)).strip("'\"")


def _text(value: Any) -> str:
    """A value as the reference shows it: no address in memory, no module in front of names."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return str(value.__name__)
    if isinstance(value, (str, bytes, int, float, bool, type(None), tuple, frozenset)):
        return repr(value)
    written = _MODULE.sub("", repr(value))
    return f"{type(value).__name__}(…)" if " at 0x" in written else written


def _quoted(code: str) -> str:
    """Code with texts in double quotes, as the project writes it."""
    return code if '"' in code else code.replace("'", '"')


def _prose(text: str | None) -> str:
    """A docstring as Markdown: its sections are lists, and nothing but code and emphasis is markup."""
    parts: list[str] = []
    lines = inspect.cleandoc(text or "").splitlines()
    while lines:
        line = lines.pop(0)
        section = _SECTION.match(line)
        if not section:
            parts.append(line)
            continue
        inside = []
        while lines and (not lines[0].strip() or lines[0].startswith(" ")):
            inside.append(lines.pop(0))
        parts += ["", f"**{section[1]}**", "", *_items(inspect.cleandoc("\n".join(["", *inside]))), ""]
    return _escaped("\n".join(parts).strip())


def _items(text: str) -> Iterator[str]:
    """The entries of a section, each of which begins a line, and what continues them."""
    for line in filter(str.strip, text.splitlines()):
        if line.startswith(" "):
            yield f"    {line.strip()}"
            continue
        names, colon, said = line.partition(": ")
        named = colon and re.fullmatch(r"[*\w., ()]+", names)
        yield f"- `{names}`: {said}" if named else f"- {line}"


def _escaped(text: str) -> str:
    """What is neither code nor emphasis as it is: a ``<`` begins no tag, and ``__init__`` is not bold."""
    parts = _CODE.split(text)
    parts[::2] = [re.sub(r"__(\w+)__", r"\\_\\_\1\\_\\_", part.replace("<", "&lt;")) for part in parts[::2]]
    return "".join(parts)


def _indented(text: str) -> str:
    return re.sub(r"^(?=.)", "    ", text, flags=re.MULTILINE)


def _fenced(text: str) -> str:
    return f"```python\n{text}\n```"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path)

"""``torch2grid new-plugin NAME``: a project to start a plugin from, its tests passing as they are."""

from __future__ import annotations

import json
import re
import tokenize
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import click

from torch2grid_core import Command, PluginManager, Torch2GridError, UsageError, __version__


@dataclass(frozen=True)
class Part:
    """One kind of thing of the template, in a file of its name.

    hook: what brings it; of: the kind that it is of. name and cls: what the template calls it, and its class; others: more
    classes of the file, with what their names end in.
    """

    hook: str
    of: str
    name: str
    cls: str
    others: tuple[tuple[str, str], ...] = ()


PARTS = {
    "source": Part("torch2grid_sources", "source", "pieces", "PiecesOpener"),
    "loader": Part("torch2grid_loaders", "loader", "raw_floats", "RawFloats"),
    "decoder": Part("torch2grid_decoders", "decoder", "row_scales", "RowScales"),
    "filter": Part("torch2grid_filters", "filter", "dimensions", "Dimensions"),
    "transformer": Part("torch2grid_transformers", "transformer", "sorted_units", "SortedUnits"),
    "streaming": Part("torch2grid_transformers", "transformer", "shelves", "Shelves"),
    "view": Part("torch2grid_views", "view", "spread", "Spread"),
    "need": Part("torch2grid_views", "view", "signs", "Signs", (("SignNeed", "Need"), ("SignCollector", "Collector"))),
    "renderer": Part("torch2grid_renderers", "renderer", "tsv", "Tsv"),
    "rule": Part("torch2grid_rules", "rule", "large_weights", "LargeWeights"),
    "listener": Part("torch2grid_listeners", "listener", "page_log", "PageLog"),
    "command": Part("torch2grid_commands", "command", "count", "Count"),
}
_ENDINGS = {"streaming": "StreamingTransformer", "need": "NeedView"}  # of a class; else the kind itself
_SAID = {"streaming": "streaming transformer"}
_WITH_OPTIONS = {"filter", "transformer", "streaming", "view", "rule", "listener"}
_PREFIX = "torch2grid-"
_OWN = ("core", "builtin")  # the distributions that torch2grid itself consists of
_LINE = 128  # characters of a line of the template, at most
_BLOCKS = "\n\n\n"  # what stands between the functions of a formatted module
_CODE = "X101"  # of the template's rule


class NewPlugin(Command):
    """write a project to start a plugin from, with tests that pass"""

    name: ClassVar[str] = "new-plugin"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, name: str, kinds: tuple[str, ...], output: str) -> None:
            folder = new_plugin(manager, name, kinds or tuple(PARTS), output, _flags(click.get_current_context().find_root()))
            click.echo(folder)
            click.echo(f"next: pip install -e '{folder}[test]', then pytest {folder}", err=True)

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=[
                click.Argument(["name"]),
                click.Option(
                    ["--kind", "kinds"],
                    multiple=True,
                    type=click.Choice(list(PARTS)),
                    help="write only this kind (repeatable); without it, all of these",
                ),
                click.Option(
                    ["-o", "--output"], default=".", show_default=True, metavar="DIR", help="the folder to put the project in"
                ),
            ],
            help="Write a project torch2grid-NAME: a plugin whose things are called NAME, with a README, a script for CI and "
            "tests that pass. Prints the project's folder.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _flags(root: click.Context) -> set[str]:
    """The options that the drawing command has, as they are typed."""
    command = root.command.get_command(root, "draw") if isinstance(root.command, click.Group) else None
    params = command.get_params(root) if command else []
    return {word for each in params if isinstance(each, click.Option) for word in (*each.opts, *each.secondary_opts)}


def new_plugin(manager: PluginManager, name: str, kinds: Collection[str], output: str, flags: Collection[str] = ()) -> Path:
    """Write the project *name* with *kinds* below *output*; its folder, which must not exist.

    flags: options that are there already, of which no view or filter gets another.

    Raises ``UsageError`` for a name that no distribution can have or that something installed has, ``Torch2GridError`` where
    the files cannot be written.
    """
    short = re.sub(r"[-_.\s]+", "-", name.strip().lower()).strip("-").removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", short) or len(short) > 60:
        raise UsageError(f"{name!r}: a name has letters, digits and hyphens, and begins with a letter")
    if short in _OWN:
        raise UsageError(f"{_PREFIX}{short} is a distribution of torch2grid itself; choose another name")
    for kind, thing in _names(short, kinds).items():
        taken = manager.names(PARTS[kind].of).get(thing) or manager.names(PARTS[kind].of).get(short)
        if taken is not None:
            raise UsageError(f"{taken.record.owner} brings a {taken.kind} {taken.name!r} already; choose another name")
        flag = f"--{thing.replace('_', '-')}"
        if PARTS[kind].of in ("view", "filter") and flag in flags:
            raise UsageError(f"{flag} is an option of torch2grid, which the {PARTS[kind].of} would get; choose another name")
    if "command" in kinds and short in ("plugins", "config", "completion", "draw"):
        raise UsageError(f"{short!r} is a command of torch2grid; choose another name")
    folder = Path(output) / f"{_PREFIX}{short}"
    try:
        folder.mkdir(parents=True)
        for path, text in project(short, kinds).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            if target.suffix == ".sh":
                target.chmod(0o755)
    except FileExistsError as error:
        raise UsageError(f"{folder} exists; remove it, or choose another name or --output") from error
    except OSError as error:
        raise Torch2GridError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


def project(short: str, kinds: Collection[str]) -> dict[str, str]:
    """The files of the project ``torch2grid-<short>`` with *kinds*: relative path → text."""
    packed = files("torch2grid_builtin") / "data" / "plugin_template.json"
    template: dict[str, list[str]] = json.loads(packed.read_text(encoding="utf-8"))
    package = f"torch2grid_{short.replace('-', '_')}"
    absent = [kind for kind in PARTS if kind not in kinds]
    texts = {path: "\n".join(lines) + "\n" for path, lines in template.items()}
    classes = _classes(short, "\n".join(texts.values()))
    written = {}
    for path, text in texts.items():
        if any(path.endswith(f"/{kind}.py") for kind in absent):
            continue
        kept = _renamed(_without(text, path, absent), short, kinds, classes if path.endswith(".py") else {})
        written[path.replace("torch2grid_myplugin", package)] = kept
    longest = max(len(line) for path, text in written.items() if path.endswith(".py") for line in text.split("\n"))
    if longest > _LINE:  # a long name makes long lines; ruff allows up to 320
        about = written["pyproject.toml"]
        written["pyproject.toml"] = about.replace(f"line-length = {_LINE}", f"line-length = {min(-(-longest // 10) * 10, 320)}")
    return written


def _names(short: str, kinds: Collection[str]) -> dict[str, str]:
    """What each of *kinds* is called: NAME, a command with its hyphens, and the second of two of one hook with its own word."""
    thing = short.replace("-", "_")
    found = {}
    for kind in (kind for kind in PARTS if kind in kinds):
        second = PARTS[kind].of != kind and PARTS[kind].of in kinds
        found[kind] = short if kind == "command" else f"{thing}_{kind}" if second else thing
    return found


def _classes(short: str, template: str) -> dict[str, str]:
    """Each class of the template → its name after the project: ``HeatMapView``; ``MyGridTransformer`` where that is taken."""
    camel = "".join(word.capitalize() for word in short.split("-"))
    found = {}
    for kind, part in PARTS.items():
        for cls, ending in ((part.cls, _ENDINGS.get(kind, kind.capitalize())), *part.others):
            name = f"{camel}{ending}"
            found[cls] = f"My{name}" if re.search(rf"\b{name}\b", template) else name
    return found


def _without(text: str, path: str, absent: Collection[str]) -> str:
    """A file of the template as it is without some kinds."""
    present = [kind for kind in PARTS if kind not in absent]
    if path.endswith("plugin.py"):
        lines = [line for line in text.split("\n") if not any(f'Lazy("torch2grid_myplugin.{kind}:' in line for kind in absent)]
        head, *hooks = "\n".join(lines).rstrip("\n").split(_BLOCKS)
        return _BLOCKS.join([head, *(hook for hook in hooks if "Lazy(" in hook)]) + "\n"
    if path == "README.md":
        lines = [line for line in text.split("\n") if not any(line.startswith(f"| `{kind}.py`") for kind in absent)]
        return _about("\n".join(lines), present)
    if path == "pyproject.toml" and "command" in absent:
        return text.replace('  "click>=8.1",\n', "")
    if path.startswith("tests/"):
        return _tests(text, absent)
    return text


def _about(text: str, present: list[str]) -> str:
    """The README for the kinds that are there."""
    words = [_SAID.get(kind, kind) for kind in present]
    several = f"{', '.join(words[:-1])} and {words[-1]}. They work as they are."
    told = several if len(words) > 1 else f"{words[0]}. It works as it is."
    text = re.sub(r"^A plugin for torch2grid: .*$", f"A plugin for torch2grid: a small {told}", text, flags=re.MULTILINE)
    head, _, rest = text.partition("\n1. ")
    steps, end = rest.split("\n\n", 1)
    kept = re.split(r"\n\d\. ", steps)
    if len(present) == 1:
        kept = [item for item in kept if not item.startswith("Delete the files")]
        kept = [item.replace("in the files that stay", f"in `{present[0]}.py`") for item in kept]
    elif "command" not in present:
        kept = [re.sub(r" Without a\s+command, [^.]*\.toml`\.", "", item) for item in kept]
    if not _WITH_OPTIONS & set(present):
        kept = [item for item in kept if not item.startswith("Options are")]
    numbered = "".join(f"\n{number}. {item}" for number, item in enumerate(kept, 1))
    return f"{head}{numbered}\n\n{end}"


def _tests(text: str, absent: Collection[str]) -> str:
    """The tests without what the kinds that are not there are checked on, and without imports that nothing needs then."""
    entries = re.findall(r'^    "(\w+)": (\w+),$', text, flags=re.MULTILINE)
    gone = [(kind, function) for kind, function in entries if kind in absent]
    for kind, function in gone:
        text = text.replace(f'    "{kind}": {function},\n', "")
        text = _BLOCKS.join(block for block in text.split(_BLOCKS) if not block.startswith(f"def {function}("))
    if len(gone) == len(entries):
        text = _BLOCKS.join(block for block in text.split(_BLOCKS) if not block.startswith("FILES = "))
        text = text.replace(", files=FILES", "")
    head, *blocks = text.split(_BLOCKS)
    body = _BLOCKS.join(blocks)
    lines = []
    for line in head.split("\n"):
        found = re.fullmatch(r"((?:from \S+ )?import )(.+)", line)
        if found is None or "__future__" in line:
            lines.append(line)
            continue
        used = [each for each in found[2].split(", ") if re.search(rf"\b{each.split(' as ')[-1]}\b", body)]
        lines += [found[1] + ", ".join(used)] if used else []
    head = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    return f"{head.rstrip()}{_BLOCKS}{body}"


def _renamed(text: str, short: str, kinds: Collection[str], classes: dict[str, str]) -> str:
    """The template's names replaced: of the distribution, the package, the classes, and what they bring."""
    thing, scheme = short.replace("-", "_"), short.replace("-", "")
    text = text.replace("torch2grid-myplugin", f"{_PREFIX}{short}").replace("torch2grid_myplugin", f"torch2grid_{thing}")
    text = re.sub(r"\bmyplugin\b", short, text)
    text = re.sub(r"torch2grid-core>=[^\"]*", f"torch2grid-core{core_range(__version__)}", text)
    text = _with_classes(text, classes) if classes else text
    text = text.replace('("pieces",)', f'("{scheme}",)').replace("pieces://", f"{scheme}://")  # a scheme has no underscore
    text = text.replace('("tsv",)', f'("{thing}",)')
    for kind, name in _names(short, kinds).items():
        own = PARTS[kind].name
        text = re.sub(rf'"{own}"', f'"{name}"', text)
        # in the README and the docstrings, where a user types it
        text = re.sub(rf"(--(?:filter|plugin|view|format|rule|listener) |torch2grid ){own}\b", rf"\g<1>{name}", text)
    return text.replace(_CODE, f"X{100 + zlib.crc32(short.encode()) % 900}")


def _with_classes(code: str, classes: dict[str, str]) -> str:
    """Python *code* with its *classes* renamed: where they are names, and as ``module:Class``, not as words of a text."""
    lines = code.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(iter(lines).__next__))):
        if token.type not in (tokenize.NAME, tokenize.STRING) or token.start[0] != token.end[0]:
            continue  # a text of several lines is prose
        made = classes.get(token.string, token.string)
        if token.type == tokenize.STRING:
            made = re.sub(r"(?<=\w:)(\w+)(?=\W$)", lambda found: classes.get(found[1], found[1]), made)
        row, start, end = token.start[0] - 1, token.start[1], token.end[1]
        lines[row] = lines[row][:start] + made + lines[row][end:]
    return "".join(lines)


def core_range(version: str) -> str:
    """The versions of the core that a plugin written for *version* asks for: up to the next that may change what is public."""
    major, minor = (int(part) for part in re.findall(r"\d+", version)[:2])
    return f">={major}.{minor},<{major}.{minor + 1}" if not major else f">={major}.{minor},<{major + 1}"

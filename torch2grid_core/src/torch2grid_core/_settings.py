"""The settings of a run, each declared once: the command line, files, the environment and Python all follow from it.

To add a setting, add a field to ``Settings``, and name it in ``settings_options`` of the commands that it concerns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from torch2grid_core._conversion import convert, type_text
from torch2grid_core._errors import UsageError
from torch2grid_core._guard import describe_value
from torch2grid_core._pictures.choices import DEFAULT_CLIP, FORMER, Reduction, ScaleKind
from torch2grid_core._text import did_you_mean

if TYPE_CHECKING:
    from torch2grid_core._pictures.grid import Grid
    from torch2grid_core._pictures.page import Heatmap
    from torch2grid_core._pictures.scale import ColorScale

GROUPS = ("Drawing", "Views", "Choosing tensors", "Picture", "Plugins", "Process")  # the headings of help
DRAWING, VIEWS, CHOOSING, PICTURE, PLUGINS, PROCESS = GROUPS
GIVEN = "torch2grid.given"  # where a click context keeps (setting, value) pairs, in the order of the line
DEFAULT_TRANSFORMER = "flatten"
DEFAULT_VIEW = "grid"
_SPEC = "NAME[:KEY=VALUE,…]"
_DIGITS = 30  # of a number in a message
_METADATA = "torch2grid"
OptionsClass = TypeVar("OptionsClass")


@dataclass(frozen=True)
class Setting:
    """One setting, whoever declares it, and the check of its values.

    Args:
        name: of the keyword and of the key in a file; the flag is the same with dashes.
        type: of its value.
        default: its value unless given.
        help: what ``--help`` says.
        group: of options in the help.
        flags: further flags.
        metavar: its value in the help.
        least: the least number that it takes.
        most: the greatest number that it takes.
        kind: of the plugin that its value names, with options or without.
        separated: a text is several values with commas between.
        check: raises ``ValueError`` or ``UsageError`` for a value of the right type that is wrong all the same.
        make: returns the value as it is kept, from the one that was given; raises like *check*.
        draws: False for a setting that the drawing command has no use for.
        adds: the kind and the name of what a flag of a view or a filter stands for.
        owner: makes a plugin's own options, of which this is the *field*.
        field: of *owner*.
        section: the name under which a settings file may have the options of *owner* together.
        former: earlier names of choices → the names now.
    """

    name: str
    type: Any
    default: Any
    help: str
    group: str = DRAWING
    flags: tuple[str, ...] = ()
    metavar: str = ""
    least: float | None = None
    most: float = math.inf
    kind: str = ""
    separated: bool = False
    check: Callable[[Any], None] | None = None
    make: Callable[[Any], Any] | None = None
    draws: bool = True
    adds: tuple[str, str] | None = None
    owner: Any = None
    field: str = ""
    section: str = ""
    former: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"TORCH2GRID_{self.name.upper()}"

    @property
    def is_flag(self) -> bool:
        return self.type is bool

    @property
    def many(self) -> bool:
        """True if it takes several values."""
        return get_origin(self.type) is tuple and get_args(self.type)[-1] is Ellipsis

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def parse(self, value: Any) -> Any:
        """Return *value*, a text or already of the type, as the type. Raises ``ValueError`` that says what was expected."""
        if self.adds is not None and isinstance(value, Mapping):
            kind, name = self.adds
            raise ValueError(f"its flag takes no options; they are given as {kind}: {{{name}: {{option: value}}}}")
        if self.many and not isinstance(value, (list, tuple)):
            value = (value,)
        if self.separated or (self.many and self.owner is not None):
            pieces = [each.split(",") if isinstance(each, str) else [each] for each in value]
            value = [text.strip() if isinstance(text, str) else text for piece in pieces for text in piece]
            value = [each for each in value if each != ""]
        if self.separated:
            value = [each.lower() if isinstance(each, str) else each for each in value]
        elif self.adds is not None and self.many:  # a number may stand for a pattern (``only: 3``) or a position
            value = [repr(each) if type(each) in (int, float) else each for each in value]
        if self.kind:
            if self.many:  # {NAME: {…}, NAME: {…}} is several
                value = [each for one in value for each in _apart(one)]
            for each in value if self.many else (value,):
                if isinstance(each, type):
                    raise ValueError(f"expected an instance, not the class {each.__name__}: {each.__name__}(…)")
                if isinstance(each, (bool, int, float, bytes, list, tuple, set)) or (
                    isinstance(each, Mapping) and not _is_options(each)
                ):
                    quoted = "; a name such as off is put into quotes" if isinstance(each, bool) else ""
                    raise ValueError(f"expected text, not {told(each)}{quoted}")
            return tuple(value) if self.many else value
        if isinstance(value, str):
            value = self.former.get(value, value)
        try:
            value = convert(value, self.type)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(self._expected(value)) from None
        if self.least is not None and not (self.least <= value <= self.most and math.isfinite(value)):
            most = "" if self.most == math.inf else f" to {self.most:g}"
            raise ValueError(f"expected {type_text(self.type)} from {self.least:g}{most}, not {told(value)}")
        if self.check is not None and value is not None:
            self.check(value)
        return value if self.make is None else self.make(value)

    def _expected(self, value: Any) -> str:
        """What was expected where *value* cannot be the type: of several values, of the first that is wrong."""
        wanted = self.type
        if self.many and isinstance(value, (list, tuple)):
            wanted = get_args(self.type)[0]
            value = next((each for each in value if not _converts(each, wanted)), value)
        text = self.metavar if "|" in self.metavar else type_text(wanted)
        return f"expected {text}, not {told(value)}"


def _converts(value: Any, wanted: Any) -> bool:
    try:
        convert(value, wanted)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _apart(value: Any) -> list[Any]:
    """What one entry for plugins names: a mapping of several names is one of each; a name with nothing has no options."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
        return [value]
    return [{name: {} if options is None else options} for name, options in value.items()]


def _is_options(value: Any) -> bool:
    """True for ``{name: {key: value}}``, and for ``{name: value}`` of a filter's flag."""
    return isinstance(value, Mapping) and len(value) == 1 and isinstance(next(iter(value)), str)


def told(value: Any) -> str:
    """A value in a message: short, whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple, Mapping)):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value):,}"
    if isinstance(value, int) and abs(value) >= 10**_DIGITS:
        return f"a number of more than {_DIGITS} digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _rising(limits: Any) -> None:
    if limits != "shared" and not (limits[0] < limits[1] and all(map(math.isfinite, limits))):
        raise ValueError(f"{limits[0]:g},{limits[1]:g}: both must be finite, and the first number must be below the second")


def _known_colormap(name: str) -> None:
    from torch2grid_core._pictures.pixels import colormap

    colormap(name)


def _index(given: Any) -> str:
    if given is None or given == "":
        return ""
    from torch2grid_core._data.indexing import index_text, parse_index

    return index_text(parse_index(given))


def _setting(default: Any, help: str, *flags: str, group: str = DRAWING, **more: Any) -> Any:
    metadata = {_METADATA: {"help": help, "flags": flags, "group": group, **more}}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What the user asked for, in whichever way. Views and renderers follow it.

    Each field but the last three is an option of the command line (``--max-cells``), a key of a settings file, a variable
    (``TORCH2GRID_MAX_CELLS``) and a keyword argument of Python's functions, all under its name.

    Args:
        output: empty if pages stay in memory, as Python's functions return them.
        transformer: the instance that *plugin* names, ``None`` for the default.
        transformer_name: its name if the user gave one.
        plugins: plugins' own options.

    Raises:
        UsageError: a field cannot have this value.
    """

    output: str = _setting("grids", "folder to write to, or FILE.png for one picture", "-o", metavar="DIR|FILE")
    format: tuple[str, ...] = _setting((), "file formats, such as png,svg,pdf", "--export", metavar="LIST", separated=True)
    title: str = _setting("", "a title of your own", metavar="TEXT")
    part: str = _setting("", "another part of the file, such as optimizer; all shows everything", metavar="NAME")
    interactive: bool = _setting(False, "choose tensors from a menu", "-i")
    jobs: int = _setting(0, "number of processes; 0: up to one per core", "-j", metavar="N", least=0, most=10_000)
    executor: Any = _setting(
        None, "do the work elsewhere, with an executor of a plugin, such as dask", metavar="NAME[:URL]", kind="executor"
    )
    verbose: bool = _setting(False, "also list each tensor that was left out, and why", "-v")
    quiet: bool = _setting(False, "print only errors and the paths of written files", "-q")
    include_buffers: bool = _setting(False, "draw counters and index buffers too", group=CHOOSING)
    raw: bool = _setting(False, "show what is stored, without decoders", group=CHOOSING)
    filter: tuple[Any, ...] = _setting(
        (), "draw only what a filter keeps (repeatable)", group=CHOOSING, metavar=_SPEC, kind="filter"
    )
    slice: Any = _setting("", "only this part of each tensor, as in numpy", group=CHOOSING, metavar="'0:64, :'", make=_index)
    colormap: str | None = _setting(
        None, "colour map, any of matplotlib's", group=PICTURE, metavar="NAME", check=_known_colormap
    )
    reduce: Reduction = _setting("mean", "what a cell shows if several weights share it", group=PICTURE)
    scale: ScaleKind = _setting("auto", "colour scale; asinh: linear near 0, logarithmic beyond", group=PICTURE, former=FORMER)
    clip: float = _setting(
        DEFAULT_CLIP, "share of the cells that lie within the colour limits", group=PICTURE, metavar="SHARE", least=0.5, most=1
    )
    limits: tuple[float, float] | Literal["shared"] | None = _setting(
        None, "fixed colour limits", group=PICTURE, metavar="LO,HI|shared", check=_rising
    )
    threshold: float = _setting(1e-6, "weights below X in magnitude count as near zero", group=PICTURE, metavar="X", least=0)
    max_cells: int = _setting(2048, "most cells per side of the grid", group=PICTURE, metavar="N", least=1, most=16384)
    tensor_cells: int = _setting(
        1024, "most cells per side of one tensor's picture", group=PICTURE, metavar="N", least=1, most=16384
    )
    plugin: Any = _setting(None, "the grid transformer; see --list-plugins", group=PLUGINS, metavar=_SPEC, kind="transformer")
    view: tuple[Any, ...] = _setting((), "a view, with options", group=PLUGINS, metavar=_SPEC, kind="view")
    rule: tuple[Any, ...] = _setting(
        (), "a rule's options (repeatable)", group=PLUGINS, metavar=_SPEC, kind="rule", draws=False
    )
    loader: str | None = _setting(None, "read the file with this loader", group=PLUGINS, metavar="NAME", kind="loader")
    renderer: str | None = _setting(None, "write files with this renderer", group=PLUGINS, metavar=_SPEC, kind="renderer")
    listener: tuple[Any, ...] = _setting(
        (), "call a listener for each page written (repeatable)", group=PLUGINS, metavar=_SPEC, kind="listener"
    )
    transformer: Any = None
    transformer_name: str = ""
    plugins: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for setting in FIELDS.values():
            try:
                value = setting.parse(getattr(self, setting.name))
            except (ValueError, UsageError) as error:
                raise UsageError(f"{setting.name}: {error}") from None
            object.__setattr__(self, setting.name, value)

    @classmethod
    def from_context(cls, context: Any, **usual: Any) -> Settings:
        """Return the settings that the command of a click *context* was given.

        Args:
            context: of the command.
            usual: defaults of the command's own.
        """
        return cls.of(context.meta.get(GIVEN, ()), **usual)

    @classmethod
    def of(cls, given: Iterable[tuple[Setting, Any]], **usual: Any) -> Settings:
        """Return the settings with the values *given*; filters apply in this order.

        Args:
            given: settings and their values.
            usual: values of fields that are not given.

        Raises:
            UsageError: a value is wrong.
        """
        fields, views, filters, owned = dict(usual), list[str](), list[Any](), dict[Any, dict[str, Any]]()
        for setting, value in given:
            if setting.owner is not None:
                owned.setdefault(setting.owner, {})[setting.field] = value
            elif setting.adds is None and setting.name != "filter":
                fields[setting.name] = value
            elif setting.adds is None:
                filters += value
            elif setting.adds[0] == "view":
                views += [setting.adds[1]] * bool(value)
            elif setting.is_flag:
                filters += [{setting.adds[1]: True}] * bool(value)
            elif value:  # a flag given twice is one filter with both values
                values = setting.parse(value)
                filters.append({setting.adds[1]: values[0] if len(values) == 1 else values})
        named = {spec_name(spec) for spec in fields.get("view", ())}  # `--layers --view layers:sheet=9` is one view
        fields["view"] = (*sorted(name for name in views if name not in named), *fields.get("view", ()))
        plugins = tuple(create(values) for create, values in owned.items())
        return cls(**{**fields, "filter": tuple(filters), "plugins": plugins})

    def options(self, owner: type[OptionsClass]) -> OptionsClass:
        """Return a plugin's own options: an instance of the ``PluginSettings`` that its hook yields."""
        return next((each for each in self.plugins if isinstance(each, owner)), None) or owner()

    def color_scale(self, *grids: Grid) -> ColorScale:
        """Return one scale for *grids* by ``scale``, ``clip`` and ``limits``.

        Raises ``TypeError`` for anything but a ``Grid``.
        """
        from torch2grid_core._pictures.grid import Grid
        from torch2grid_core._pictures.scale import color_scale

        for each in grids:
            if not isinstance(each, Grid):
                raise TypeError(f"a Grid is needed, not {describe_value(each)}: Grid(array)")

        limits = self.limits if isinstance(self.limits, tuple) else None
        return color_scale(grids, self.scale, self.clip, limits)

    def heatmap(self, grid: Grid, *, scale: ColorScale | None = None, **options: Any) -> Heatmap:
        """Return a heatmap panel of *grid*. *options* are the other fields of ``Heatmap``."""
        from torch2grid_core._pictures.page import Heatmap

        return Heatmap(grid, scale or self.color_scale(grid), label=options.pop("label", grid.cell_text()), **options)


def spec_name(spec: Any) -> str:
    """Return the name in ``NAME:key=value``, in ``{NAME: {key: value}}`` or of an instance."""
    if isinstance(spec, str):
        return spec.partition(":")[0].strip()
    return str(next(iter(spec)) if isinstance(spec, Mapping) else spec.name)


def _declared() -> dict[str, Setting]:
    types = get_type_hints(Settings)
    return {
        each.name: Setting(each.name, types[each.name], each.default, **each.metadata[_METADATA])
        for each in dataclasses.fields(Settings)
        if _METADATA in each.metadata
    }


FIELDS: Mapping[str, Setting] = _declared()

# Beside the fields: it stands for options of plugins as a whole, which only a manager knows.
SET = Setting(
    "set", tuple[Any, ...], (), "options of a plugin as a whole (repeatable)", PLUGINS, metavar=_SPEC, kind="settings"
)

# Of the process: they act before plugins are imported, so before there are Settings. Every command takes them.
PROCESS_SETTINGS: Mapping[str, Setting] = {
    each.name: each
    for each in (
        Setting("load_plugin", tuple[str, ...], (), "add the plugin in a file", PROCESS, metavar="FILE.py"),
        Setting("no_plugins", bool, False, "leave installed third-party plugins out", PROCESS),
        Setting("disable_plugin", tuple[str, ...], (), "leave a plugin or distribution out", PROCESS, metavar="NAME"),
        Setting("config", str, "", "settings from a YAML, JSON or TOML file", PROCESS, metavar="FILE"),
        Setting("debug", bool, False, "show tracebacks", PROCESS),
    )
}


def named(known: Mapping[str, Setting], key: str) -> Setting:
    """The setting *key* of *known*, with dashes or underscores. Raises ``UsageError`` with the nearest name."""
    found = known.get(key.replace("-", "_"))
    if found is None:
        raise UsageError(f"unknown setting {key!r}{did_you_mean(key, known)}")
    return found

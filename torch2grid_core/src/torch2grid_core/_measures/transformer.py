"""From the tensors of a whole model to one grid: the base classes of transformers, and what of a model each one draws."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._errors import NotDrawable
from torch2grid_core._guard import PASSES, collect, describe, not_run, origin_of, returned
from torch2grid_core._measures.in_memory import measured_here
from torch2grid_core._measures.need import Need
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.raster import assemble, flat, whole
from torch2grid_core._summary.distribution import Distribution

_GRID = "a 2-D array of numbers or a Grid"
_STEPS = ("preprocess", "transform", "postprocess", "__call__")


class GridTransformer(ABC):
    """Makes one 2-D grid of all tensors, or of those that it chooses. Only ``name`` and ``transform`` must be written.

    ``transform`` gets a mapping of name to float32 array, each read when it is touched. It returns any 2-D array or a ``Grid``.
    ``name`` is a class attribute or a property. Options are the fields of a dataclass.
    """

    name: Any  # a str, as a class attribute or a property
    file_order: ClassVar[bool] = False  # True: gets the tensors as they lie in the file; else in the order of tables and lists

    @property
    def description(self) -> str:
        """One line on what it does; the first line of the docstring unless overridden."""
        own = type(self).__dict__.get("__doc__")  # not the base class's: what that says is about writing one
        return inspect.cleandoc(own).partition("\n")[0] if own else ""

    def choose(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterable[str]:
        """Return the names of the tensors that the picture is of, all unless overridden. The others are not read.

        Name each once, in any order: the later steps get the tensors in the order of *shapes*. If there is no name, nothing is
        drawn and the run ends with one line.
        """
        return shapes

    def can_handle(self, tensors: Mapping[str, Any]) -> bool:
        """Return False to decline the chosen tensors. Nothing is drawn then, and the run ends with one line."""
        return True

    def preprocess(self, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the mapping that ``transform`` gets. Rename or change tensors here; to leave some out, override ``choose``."""
        return tensors

    @abstractmethod
    def transform(self, tensors: Mapping[str, Any]) -> Array | Grid:
        """Return the grid: a 2-D array or a ``Grid``."""

    def postprocess(self, grid: Array | Grid) -> Array | Grid:
        """Return the finished grid. Override it to change what ``transform`` returned."""
        return grid

    def __call__(self, tensors: Mapping[str, Any]) -> Array | Grid:
        """Run all steps in turn. Raises ``NotDrawable`` if ``choose`` names nothing or ``can_handle`` is False."""
        tensors = chosen(self, tensors)
        if not handles(self, tensors):
            raise NotDrawable(f"transformer {self.name!r} cannot handle these tensors")
        made: Any = tensors
        for step, wanted in (("preprocess", "a mapping"), ("transform", _GRID), ("postprocess", _GRID)):
            made = getattr(self, step)(made)
            if wrong := not_run(step, made) or (returned(step, None, wanted) if made is None else ""):
                raise origin_of(self).error(wrong)  # before the next step, or numpy, is blamed
        return made  # type: ignore[no-any-return]


class LayoutTransformer(GridTransformer):
    """A transformer that says where weights go and leaves the moving to the raster: any model size in bounded memory.

    Write ``layout``. If the places depend on the weights, write ``needs`` and ``arrange`` instead, which cost a pass of their
    own. A transformer that overrides ``transform``, ``preprocess``, ``postprocess`` or ``__call__`` gets whole arrays and is
    not streamed.
    """

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "arrange" in vars(cls) and getattr(cls.layout, "__isabstractmethod__", False):
            cls.layout = _arranged_by_nothing  # type: ignore[method-assign]

    @abstractmethod
    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        """Return where every weight of the chosen tensors goes.

        Args:
            shapes: name → shape of the chosen tensors.
            max_cells: most cells per side of the grid; ``None`` is the full size, one weight per cell.
        """

    def needs(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Need[Any]]:
        """Return what ``arrange`` has to know of the chosen tensors, under keys of its own; nothing unless overridden.

        It is measured in a pass of its own before the picture is drawn.
        """
        return {}

    def arrange(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None, results: Mapping[str, Any]) -> Layout:
        """Return the layout if ``needs`` asks for something. Called instead of ``layout``.

        Args:
            shapes: name → shape of the chosen tensors.
            max_cells: most cells per side of the grid; ``None`` is the full size, one weight per cell.
            results: under the keys of ``needs``, tensor name → result; for a need about the model as a whole, its result. They
                are about what is drawn: in a comparison about Δ, in an animation about last − first. One layout serves all
                pictures.
        """
        return self.layout(shapes, max_cells)

    def scale(self, summaries: Mapping[str, Distribution]) -> Mapping[str, tuple[float, float]] | None:
        """Return (factor, offset) for each tensor, applied to the reduced values as ``value * factor + offset``.

        ``None`` leaves the weights as they are. Override ``needs_summaries`` too, so that the pass collects *summaries*.
        """
        return None

    def finished(self, grid: Grid) -> Grid:
        """Return the finished grid of a picture: the same cells with other values, notes or limits.

        Unchanged unless overridden.
        """
        return grid

    needs_summaries: bool = False
    quantity: str = "weight"  # what a value is after ``scale``

    def transform(self, tensors: Mapping[str, Any]) -> Grid:
        """Return the full-size grid, one weight per cell, of tensors of any shape.

        Raises:
            NotDrawable: the transformer finds nothing to draw.
            ValueError: the layout is not valid.
        """
        shapes = shapes_of(tensors)
        layout = layout_in_memory(self, tensors, shapes, None).validate(shapes)
        scale = None
        if self.needs_summaries:
            summaries = {name: Distribution() for name in shapes}
            for name, summary in summaries.items():
                summary.update(flat(tensors[name]))
            scale = self.scale(summaries)
        parts = (whole(layout, name, tensors[name], "mean") for name in layout.tensors)
        return self.finished(assemble(layout, "mean", parts, scale, self.quantity))


def layout_in_memory(
    transformer: LayoutTransformer, tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], max_cells: int | None
) -> Layout:
    """The layout from ``layout`` or, with what it needs of *tensors*, which it chose, from ``arrange``. It is not validated.

    Raises ``PluginError`` for anything but a layout.
    """
    needs: object = transformer.needs(shapes)
    if not isinstance(needs, Mapping):
        raise origin_of(transformer).error(returned("needs", needs, "a mapping of key to need"))
    found: object
    if needs:
        found = transformer.arrange(shapes, max_cells, measured_here(tensors, needs))
    else:
        found = transformer.layout(shapes, max_cells)
    if not isinstance(found, Layout):
        raise origin_of(transformer).error(returned("arrange" if needs else "layout", found, "a Layout"))
    return found


def handles(transformer: GridTransformer, tensors: Mapping[str, Any]) -> bool:
    """What ``can_handle`` answers. Raises ``PluginError`` for ``None``, which is no answer."""
    found: object = transformer.can_handle(tensors)
    if found is None:
        raise origin_of(transformer).error(returned("can_handle", None, "True or False"))
    return bool(found)


def last_step(transformer: GridTransformer) -> str:
    """The step of its own that what is drawn comes from, for messages."""
    cls = type(transformer)
    return next((s for s in ("__call__", "postprocess") if getattr(cls, s) is not getattr(GridTransformer, s)), "transform")


def _arranged_by_nothing(self: LayoutTransformer, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
    """The layout of a transformer that has ``arrange`` alone, where it needs nothing of these tensors."""
    missing = "; needs() is missing, so that it gets no results" if type(self).needs is LayoutTransformer.needs else ""
    try:
        found: object = self.arrange(shapes, max_cells, {})
    except PASSES:
        raise
    except BaseException as error:
        raise origin_of(self).error(f"arrange: {describe(error)}{missing}") from error
    if not isinstance(found, Layout):
        raise origin_of(self).error(returned("arrange", found, "a Layout") + missing)
    return found


def overridden_steps(transformer: GridTransformer) -> list[str]:
    """The steps of a ``LayoutTransformer`` of its own that keep it from being streamed; none for any other transformer."""
    if not isinstance(transformer, LayoutTransformer):
        return []
    return [step for step in _STEPS if getattr(type(transformer), step) is not getattr(LayoutTransformer, step)]


def streams(transformer: GridTransformer) -> bool:
    """True when only layout and scale matter, so that the raster does the work; False where a step is overridden."""
    return isinstance(transformer, LayoutTransformer) and not overridden_steps(transformer)


def chosen_names(transformer: GridTransformer, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The names that *transformer* chooses, in the order of *shapes*.

    Raises ``PluginError`` for an answer that is not names of these tensors, each once; ``NotDrawable`` where it chooses none.
    """
    if type(transformer).choose is GridTransformer.choose:
        return tuple(shapes)
    origin, found = origin_of(transformer), set[str]()
    for name in collect(transformer, transformer.choose, dict(shapes)):
        if not isinstance(name, str):
            raise origin.error(f"choose yields {type(name).__name__}, not a name of a tensor")
        if name not in shapes:
            raise origin.error(f"choose names {name!r}, which is not one of the tensors")
        if name in found:
            raise origin.error(f"choose names {name!r} twice")
        found.add(name)
    if not found:
        given = "the one tensor" if len(shapes) == 1 else f"any of these {len(shapes):,} tensors"
        raise NotDrawable(f"transformer {transformer.name!r} does not draw {given}")
    return tuple(name for name in shapes if name in found)


class Chosen(Mapping[str, Any]):
    """The tensors of another mapping that a transformer chose, still read when they are touched."""

    def __init__(self, tensors: Mapping[str, Any], names: Iterable[str]) -> None:
        self._tensors, self._names = tensors, dict.fromkeys(names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each, without reading more than the other mapping has to."""
        found = shapes_of(self._tensors)
        return {name: found[name] for name in self._names}


def chosen(transformer: GridTransformer, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of *tensors* that *transformer* chooses; as they are, where it chose them before or takes all."""
    if isinstance(tensors, Chosen) or type(transformer).choose is GridTransformer.choose:
        return tensors
    return Chosen(tensors, chosen_names(transformer, shapes_of(tensors)))


def shapes_of(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name → shape. A mapping that reads its arrays when they are touched says it by ``shapes``."""
    known = getattr(tensors, "shapes", None)
    if isinstance(known, Mapping):
        return dict(known)
    return {name: tuple(map(int, np.shape(array))) for name, array in tensors.items()}

"""A plugin of each kind that keeps every promise, and for each check one that breaks that promise."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from torch2grid_core import (
    Block,
    BytesStorage,
    Checkpoint,
    Command,
    Finding,
    GridTransformer,
    Layout,
    LayoutTransformer,
    Lazy,
    LazyTensor,
    Loader,
    LoadError,
    NotDrawable,
    Page,
    Renderer,
    Rule,
    Summary,
    TensorFilter,
    Text,
    Transformed,
    View,
    drawable_sizes,
    visible,
)

BREAKS: dict[tuple[str, str], Any] = {}  # (kind, check) → a class, or a Lazy
HERE = "tests.testing.broken"


def breaks(kind: str, *checks: str) -> Any:
    def register(cls: type) -> type:
        BREAKS.update({(kind, check): cls for check in checks})
        return cls

    return register


# Loaders


def write_toy(folder: Path) -> list[Path]:
    (folder / "x.toy").write_bytes(b"TOY\n" + np.arange(600, dtype="<f4").tobytes())
    return [folder / "x.toy"]


class GoodLoader(Loader):
    """a header of four bytes, then float32"""

    name = "toy"

    def sniff(self, source: Any) -> int:
        return 2 if source.head[:4] == b"TOY\n" else 0

    def load(self, source: Any) -> Checkpoint:
        if source.size < 8 or source.size % 4 or not self.sniff(source):
            raise LoadError(source.shown, f"has {source.size} bytes", "fetch it again")
        return Checkpoint([self.tensor(source)], source=source.shown, format="toy")

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", ((source.size - 4) // 4,), np.dtype("<f4"), source.storage(4))


@breaks("loader", "sniff_is_safe")
class SniffsByAssertion(GoodLoader):
    """raises for an empty file"""

    def sniff(self, source: Any) -> int:
        return 2 if source.head[0] == 84 else 0


@breaks("loader", "sniff_knows_its_own")
class SniffsByName(GoodLoader):
    """looks at the name"""

    def sniff(self, source: Any) -> int:
        return 2 if source.path.suffix == ".toy" else 0


@breaks("loader", "load_describes")
class ListShape(GoodLoader):
    """a shape that is a list, and no format"""

    def load(self, source: Any) -> Checkpoint:
        return Checkpoint([self.tensor(source)], source=source.shown)


class Forgetful:
    """A storage that answers a read in the middle with what is at the start."""

    shippable = True

    def __init__(self, inner: Any) -> None:
        self.inner, self.size = inner, inner.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.inner.read_into(0, buffer)


@breaks("loader", "reads_agree")
class ReadsTheStart(GoodLoader):
    """wrong bytes for every chunk but the first"""

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", ((source.size - 4) // 4,), np.dtype("<f4"), Forgetful(source.storage(4)))


@breaks("loader", "deterministic")
class CountsItsLoads(GoodLoader):
    """other weights every time"""

    loads = itertools.count()

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", (2,), np.dtype("<f4"), BytesStorage(np.full(2, next(self.loads), "<f4")))


class Here:
    """A storage of this process that claims to work in any."""

    shippable = True

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def __reduce__(self) -> Any:
        return Here, (bytes(self.size),)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]


@breaks("loader", "shipping")
class ShipsNothing(GoodLoader):
    """a pickled tensor that is all zeros"""

    def tensor(self, source: Any) -> LazyTensor:
        return LazyTensor("w", (600,), np.dtype("<f4"), Here(source.read(4, 2400)))


@breaks("loader", "damage_is_a_clear_error")
class TrustsTheSize(GoodLoader):
    """a cut file raises what numpy raises"""

    def load(self, source: Any) -> Checkpoint:
        values = np.frombuffer(source.read(4, source.size - 4), "<f4")
        return Checkpoint(
            [LazyTensor("w", values.shape, values.dtype, BytesStorage(values))], source=source.shown, format="toy"
        )


# Filters


@dataclass(frozen=True)
class GoodFilter(TensorFilter):
    """tensors with an e in their names"""

    name = "toy"
    letter: str = field(default="e", metadata={"help": "the letter"})

    def keep(self, tensor: LazyTensor) -> bool:
        return self.letter in tensor.name


@breaks("filter", "keep_answers")
class KeepsByCount(GoodFilter):
    """answers with a number"""

    def keep(self, tensor: LazyTensor) -> Any:
        return tensor.name.count("e")


@breaks("filter", "what_goes_is_recorded")
class DropsSilently(GoodFilter):
    """forgets to say what is gone"""

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint.select(name for name in checkpoint if "e" in name)


@breaks("filter", "inputs_stay")
class DropsInPlace(GoodFilter):
    """takes tensors out of the checkpoint that it was given"""

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        checkpoint._tensors.popitem()
        return checkpoint


# Transformers


@dataclass(frozen=True)
class GoodTransformer(LayoutTransformer):
    """each tensor's weights as one row of cells"""

    name = "toy"
    needs_summaries = True
    factor: float = field(default=1.0, metadata={"help": "the scale"})

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        sizes = drawable_sizes(shapes)
        if max_cells and len(sizes) > max_cells:
            raise NotDrawable(f"{len(sizes)} tensors in {max_cells} rows")
        width = max(sizes.values())
        per_cell = -(-width // max_cells) if max_cells else 1
        blocks = tuple(Block(name, 0, row, 0, ((size, 0, 1),)) for row, (name, size) in enumerate(sizes.items()))
        return Layout(len(sizes), width, (1, per_cell), blocks)

    def scale(self, summaries: Mapping[str, Any]) -> Any:
        return dict.fromkeys(summaries, (self.factor, 0.0))


@breaks("transformer", "result_is_a_grid")
class Flat(GridTransformer):
    """one dimension"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.concatenate([array.reshape(-1) for array in tensors.values()])


@breaks("transformer", "deterministic")
class Noisy(GridTransformer):
    """another picture every time"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.random.default_rng().normal(size=(3, 3))


@breaks("transformer", "inputs_stay")
class InPlace(GridTransformer):
    """scales the arrays that it was given"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        for array in tensors.values():
            array *= 2
        return np.ones((2, 2))


@breaks("transformer", "can_handle_answers")
class AnswersWithATensor(GoodTransformer):
    """the first tensor instead of yes"""

    def can_handle(self, tensors: Mapping[str, Any]) -> Any:
        return next(iter(tensors.values()))


@breaks("transformer", "every_input_is_drawn")
class Squares(GridTransformer):
    """fails where the first tensor is empty or a single number"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        first = next(iter(tensors.values()))
        return first.reshape(len(first), -1)[:1] / first.max()


@breaks("transformer", "nan_stays_in_its_place")
class Normalises(GridTransformer):
    """divides by the mean, NaN or not"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        values = np.concatenate([array.reshape(-1) for array in tensors.values()])[None]
        return values / values.mean()


@breaks("transformer", "layout_is_valid")
class OneBlockShort(GoodTransformer):
    """forgets the last block"""

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        found = super().layout(shapes, max_cells)
        return Layout(found.rows, found.columns, found.cell, found.blocks[:-1])


@breaks("transformer", "layout_of_a_large_model")
class WeightByWeight(GoodTransformer):
    """takes a second for every thousand million weights"""

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        time.sleep(sum(int(np.prod(shape)) for shape in shapes.values()) / 1e9)
        return super().layout(shapes, max_cells)


@breaks("transformer", "scale_answers")
class DividesByTheSpread(GoodTransformer):
    """a constant tensor has no spread"""

    def scale(self, summaries: Mapping[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            return {name: (float(np.float64(1) / (each.max - each.min)), 0.0) for name, each in summaries.items()}


@breaks("transformer", "metadata")
class NoDocstring(GoodTransformer):
    name = "toy"


@breaks("transformer", "options")
@dataclass(frozen=True)
class NoHelp(GoodTransformer):
    """an option without help"""

    name = "toy"
    side: int = 3


@breaks("transformer", "pickling")
class HoldsALambda(GoodTransformer):
    """cannot travel"""

    def __init__(self) -> None:
        object.__setattr__(self, "key", lambda each: each)


@breaks("transformer", "announced")
class Renamed(GoodTransformer):
    """announced under another name"""

    name = "renamed"


BREAKS["transformer", "announced"] = Lazy(f"{HERE}:Renamed", "toy", "announced under another name")


# Views


class GoodView(View):
    """how many weights each tensor has"""

    name = "toy"

    def tensor_needs(self, tensor: LazyTensor, run: Any) -> Mapping[str, Any]:
        return {"all": Summary()}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page(tensor.name, "", (Text(f"{results['all'].count}"),), folder="toy")

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {"grid": Transformed(run.transformer, run.reduce, run.max_cells)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page("toy", "", (run.heatmap(results["grid"]),))


class Column(GridTransformer):
    """a new one is not equal to another"""

    name = "column"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.ones((2, 2))


@breaks("view", "needs_are_values")
class NewNeeds(GoodView):
    """asks for something else each time"""

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {"grid": Transformed(Column())}


@breaks("view", "every_input_is_drawn")
class TakesTheFirstRow(GoodView):
    """fails for single numbers"""

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page(tensor.name, "", (Text(f"{tensor.shape[0]} rows"),), folder="toy")


@breaks("view", "pages_have_their_own_names")
class OneName(GoodView):
    """every page is called the same"""

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page("tensor", "", (Text("one"),), folder="toy")


@breaks("view", "deterministic")
class Remembers(GoodView):
    """shows the tensors of all runs"""

    def __init__(self) -> None:
        self.seen = 0

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        self.seen += len(checkpoint)
        yield Page("toy", "", (Text(f"{self.seen} tensors"),))


@breaks("view", "works_in_workers")
class GathersOnTheWay(GoodView):
    """keeps what tensor_pages saw, which happened in another process"""

    def __init__(self) -> None:
        self.names: list[str] = []

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        self.names.append(tensor.name)
        return ()

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page("toy", "", (Text(", ".join(self.names)),))


@breaks("view", "pickling")
class OpenFile(GoodView):
    """holds a file"""

    def __init__(self) -> None:
        self.log = open(__file__)  # noqa: SIM115

    def __del__(self) -> None:
        self.log.close()


# Renderers


class GoodRenderer(Renderer):
    """tables as text"""

    name = "toy"
    formats = ("toy", "html")
    combines = ("toy",)

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"{visible(page.title)}\n".replace("<", "&lt;").encode())
        for panel in page.panels:
            target.write(self.lines(panel.as_table()).replace("<", "&lt;").encode())

    def lines(self, table: Any) -> str:
        return "".join("\t".join(visible(text) for text in row) + "\n" for row in [table.columns, *table.texts()])

    def render_all(self, pages: Iterable[Page], target: Any, style: Any, format: str) -> None:
        for page in pages:
            self.render(page, target, style, format)


@breaks("renderer", "formats_are_named")
class OneFormatAsText(GoodRenderer):
    """an ending with its dot"""

    formats = (".toy",)
    combines = ()


@breaks("renderer", "every_panel_is_shown")
class KnowsHeatmaps(GoodRenderer):
    """expects a grid"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(b"".join(panel.grid.values.tobytes() for panel in page.panels))


@breaks("renderer", "odd_pages_are_shown")
class FirstPanel(GoodRenderer):
    """needs a panel"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(page.panels[0].title.encode() + b"\n")


@breaks("renderer", "hostile_text_is_harmless")
class TrustsTitles(GoodRenderer):
    """writes titles as they are"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"<h1>{page.title}</h1>".encode())


@breaks("renderer", "deterministic")
class Dated(GoodRenderer):
    """writes the time"""

    def render(self, page: Page, target: Any, style: Any, format: str) -> None:
        target.write(f"{time.perf_counter_ns()}".encode())


@breaks("renderer", "combined_pages")
class CannotCombine(GoodRenderer):
    """says that it combines, and does not"""

    render_all = Renderer.render_all


@breaks("renderer", "pickling")
class HoldsAModule(GoodRenderer):
    """cannot travel"""

    def __init__(self) -> None:
        self.numpy = np


# Rules


class GoodRule(Rule):
    """tensors of few weights"""

    name, code, severity = "toy", "X100", "warning"

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {"all": Summary()}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        for name, summary in results["all"].items():
            if 0 < summary.count < 5:
                yield Finding(f"has {summary.count} weights", name)


@breaks("rule", "needs_are_values")
class AsksByName(GoodRule):
    """names what it wants"""

    def needs(self, checkpoint: Checkpoint, run: Any) -> Any:
        return {"all": "summary"}


@breaks("rule", "code_and_severity")
class Fatal(GoodRule):
    """a severity of its own"""

    severity = "fatal"  # type: ignore[assignment]


@breaks("rule", "findings_say_where")
class Elsewhere(GoodRule):
    """about a tensor that is not there"""

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        yield Finding("has no weights", "model.nowhere")


@breaks("rule", "deterministic")
class FindsOnce(GoodRule):
    """reports each tensor once in its life"""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        for found in super().findings(checkpoint, results, run):
            if found.tensor not in self.told:
                self.told.add(found.tensor)
                yield found


# Commands


class GoodCommand(Command):
    """greet"""

    name = "toy"

    def build(self) -> click.Command:
        return click.Command(self.name, callback=lambda loud: click.echo("HELLO" if loud else "hello"), params=self.params())

    def params(self) -> list[click.Parameter]:
        return [click.Option(["--loud"], is_flag=True, help="Shout.")]


class Greet(GoodCommand):
    """greet"""

    def build(self) -> click.Command:
        command = super().build()
        command.help = "Greet whoever reads this."
        return command


@breaks("command", "builds_its_command")
class BuildsAFunction(Greet):
    """no click command"""

    def build(self) -> Any:
        return lambda: None


@breaks("command", "helps")
class NoHelpAtAll(GoodCommand):
    """has no help"""


@breaks("command", "wrong_usage_is_refused")
class TakesAnything(Greet):
    """ignores what it does not know"""

    def build(self) -> click.Command:
        command = super().build()
        command.ignore_unknown_options = command.allow_extra_args = True
        command.context_settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        return command


GOOD = {
    "loader": GoodLoader,
    "filter": GoodFilter,
    "transformer": GoodTransformer,
    "view": GoodView,
    "renderer": GoodRenderer,
    "rule": GoodRule,
    "command": Greet,
}

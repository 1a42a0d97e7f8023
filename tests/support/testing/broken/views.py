"""Views: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.support.testing.broken.registry import breaks

from torch2grid_core import Checkpoint, GridTransformer, LazyTensor, Need, NotDrawable, Page, View
from torch2grid_core.measures import Chunk, Collector, Summary, Transformed
from torch2grid_core.pages import Text


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


class Seen(Collector):
    """how many weights there are"""

    def __init__(self) -> None:
        self.count = 0

    def update(self, chunk: Chunk) -> None:
        self.count += chunk.stored.size

    def merge(self, other: Any) -> None:
        pass

    def result(self) -> int:
        return self.count


@dataclass(frozen=True)
class Counts(Need[int]):
    """how many weights there are, of parts that do not add up"""

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Seen:
        return Seen()


@breaks("view", "needs_merge")
class ForgetsParts(GoodView):
    """loses what it merges"""

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {**super().needs(checkpoint, run), "count": Counts()}


@dataclass(frozen=True)
class Misspelled(Need[int]):
    """says in other words that it merges"""

    def merge(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Seen:
        return Seen()


@breaks("view", "needs_are_spelt")
class AsksInOtherWords(GoodView):
    """has a need with a method that nobody calls"""

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {**super().needs(checkpoint, run), "count": Misspelled()}


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


@breaks("view", "something_is_drawn")
class DeclinesAll(GoodView):
    """draws no file"""

    def subject(self, checkpoint: Checkpoint, run: Any) -> Checkpoint:
        raise NotDrawable("it has no optimizer state")


@breaks("view", "does_something")
class Misspelt(View):
    """tensor_page, for tensor_pages"""

    name = "toy"

    def tensor_needs(self, tensor: LazyTensor, run: Any) -> Mapping[str, Any]:
        return {"all": Summary()}

    def tensor_page(self, tensor: LazyTensor, results: Mapping[str, Any], run: Any) -> Iterable[Page]:
        yield Page(tensor.name, "", (Text("one"),))

"""From tensors to pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._measures.need import Need
from torch2grid_core._pictures.page import Page
from torch2grid_core._settings import Settings


class View:
    """Draws pages from what it asked for. Stateless: everything comes in the arguments.

    ``tensor_needs`` and ``needs`` name what the view wants under keys of its own; the engine collects the wants of all views,
    reads each tensor once, and hands back results under the same keys:

    - a need of a tensor → its result (``Summary`` → ``Distribution``, ``Raster`` → ``Grid``; each need says what it gives);
    - in ``needs``, one about the model as a whole → its result; any other → mapping of what each result is about, such as
      a tensor's name, to the result.

    The summary line counts the tensors that a view passes over: those without pages of their own, without a place in its
    grids, and, of overviews, not among the names in ``Page.about["tensors"]``. Of a view that tells none of this it says
    nothing.
    """

    name: ClassVar[str]
    default_format: ClassVar[str] = "png"  # "text" for tables that belong on stdout
    uses_transformer: ClassVar[bool] = True  # False for a view that never looks at ``run.transformer``: none is made then

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors that the view is about: those chosen, unless it draws others of ``checkpoint.whole``, or computed ones.

        Raises ``NotDrawable`` where the file has nothing for the view.
        """
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        """What the pages of one tensor need; empty where the view has none for it."""
        return {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """The pages of one tensor, called once it has been read. Only called where ``tensor_needs`` asked for something."""
        return ()

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        """What the overview pages need."""
        return {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """The overview, after all tensors have been read."""
        return ()

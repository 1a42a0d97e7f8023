"""Pages for TensorBoard.

    torch2grid step_1200.pt --layers --load-plugin examples/tensorboard_renderer.py --format tensorboard -o runs/a

A format that is a folder: all pages of a run become one event file, at the step of the checkpoint, so that the checkpoints of a
training, drawn one after the other into one folder, have a slider in TensorBoard. Needs ``pip install tensorboard``, and no
TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch2grid_core import Page, Renderer, Style, UsageError
from torch2grid_core.grids import encode_png, paint
from torch2grid_core.pages import Heatmap, Histogram, Image, PageOrigin, Table
from torch2grid_core.text import safe_filename, visible

MOST_ROWS = 1000  # of a table: TensorBoard shows it as Markdown


@dataclass(frozen=True)
class TensorBoard(Renderer):
    """event files for TensorBoard: heatmaps as images, histograms, and the rest as tables"""

    name = "tensorboard"
    formats = ("tensorboard",)
    folders = ("tensorboard",)

    run: str = field(
        default="", metadata={"help": "the run, a folder below the output folder; {model} is the checkpoint's name"}
    )
    step: int = field(default=0, metadata={"help": "the step of a checkpoint that states none"})

    def render_folder(self, pages: Iterable[Page], folder: Path, style: Style, format: str) -> None:
        """Write one event file; a later run of the same checkpoint replaces it."""
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise UsageError(f"--format tensorboard needs tensorboard: pip install tensorboard ({error})") from error
        origin = next((page.origin for page in pages), None) or PageOrigin()
        model, step = safe_filename(origin.model or "model"), self._step(origin)
        for part in self.run.format(model=model).split("/"):
            folder = folder / safe_filename(part) if part else folder
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        with open(folder / f"events.out.tfevents.{step:012d}.{model}", "wb") as file:
            writer = RecordWriter(file)
            writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
            values = [_text(_about(origin), "checkpoint", origin.model)]
            writer.write(Event(wall_time=now, step=step, summary=Summary(value=values)).SerializeToString())
            for page in pages:  # read again from the first
                values = [_value(panel, tag, page.title, style) for tag, panel in _tagged(page)]
                step = self._step(page.origin or origin)
                writer.write(Event(wall_time=now, step=step, summary=Summary(value=values)).SerializeToString())

    def _step(self, origin: PageOrigin) -> int:
        return self.step if origin.step is None else origin.step


def _tagged(page: Page) -> Iterator[tuple[str, Any]]:
    """Each panel under the page's name, with its own title where there are several. A tag never says the step."""
    name = "/".join(filter(None, (visible(page.folder), visible(page.name)))) or "page"
    for number, panel in enumerate(page.panels, 1):
        title = visible(getattr(panel, "title", ""), 60) or str(number)
        yield name if len(page.panels) == 1 else f"{name}/{number} {title}", panel


def _about(origin: PageOrigin) -> Table:
    """What the pages are of: TensorBoard knows a step, and nothing else of a checkpoint."""
    told = {"model": origin.model, "source": ", ".join(origin.sources), "part": origin.part, **origin.metadata}
    return Table(("of the checkpoint", "is"), tuple((key, visible(str(value), 200)) for key, value in told.items()))


def _value(panel: Any, tag: str, about: str, style: Style) -> Any:
    """One value of a summary. about: what TensorBoard shows beside a text."""
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    if isinstance(panel, Heatmap) and panel.grid.values.size:
        return Summary.Value(tag=tag, image=_image(paint(panel.grid, panel.scale, style.colormap)))
    if isinstance(panel, Image) and panel.rgb.size:
        return Summary.Value(tag=tag, image=_image(panel.rgb))
    if isinstance(panel, Histogram) and len(panel.counts):
        middle = (panel.edges[:-1] + panel.edges[1:]) / 2
        counts = panel.counts
        found = HistogramProto(
            min=float(panel.edges[0]),
            max=float(panel.edges[-1]),
            num=float(counts.sum()),
            sum=float((counts * middle).sum()),
            sum_squares=float((counts * middle**2).sum()),
            bucket_limit=panel.edges[1:].tolist(),
            bucket=counts.tolist(),
        )
        return Summary.Value(tag=tag, histo=found)
    return _text(panel, tag, about)


def _image(rgb: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width, _ = rgb.shape
    return Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_png(rgb))


def _text(panel: Any, tag: str, about: str) -> Any:
    """The panel's table in Markdown: of every kind of panel, those of other plugins too."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    table = panel.as_table()
    rows = [table.columns, ["---"] * len(table.columns), *table.texts()[:MOST_ROWS]]
    text = "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)
    metadata = create_summary_metadata(display_name=tag, description=visible(about, 500))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    held = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[text.encode("utf-8", "replace")])
    return Summary.Value(tag=tag, metadata=metadata, tensor=held)


def _cell(text: str) -> str:
    """Untrusted text in a cell of Markdown, which may hold HTML."""
    return visible(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

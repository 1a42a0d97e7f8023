"""A loader: from a file to lazy tensors. Only the header is read here."""

from __future__ import annotations

import numpy as np
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import Range, Source

MAGIC = b"RAWF32 "


class RawFloats(Loader):
    """one matrix of float32 behind a line of text: ``RAWF32 fc.weight 3 4``"""

    name = "raw_floats"

    def sniff(self, source: Source) -> int:
        return 2 if source.head.startswith(MAGIC) else 0  # by content, never by the name of the file

    def load(self, source: Source) -> Checkpoint:
        line = source.head.partition(b"\n")[0]
        try:
            _, name, rows, columns = line.decode().split()
            shape = int(rows), int(columns)
        except ValueError as error:
            raise LoadError(source.shown, f"has no header such as 'RAWF32 fc.weight 3 4': {error}", "save it again") from error
        data = Range(source, len(line) + 1, 4 * shape[0] * shape[1])  # LoadError where the file is too short
        tensor = LazyTensor(name, shape, np.dtype("<f4"), data).check()
        return Checkpoint([tensor], source=source.shown, format="raw float32")

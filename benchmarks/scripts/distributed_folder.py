"""The weights of a safetensors file as four ranks of ``torch.distributed.checkpoint`` save them: FILE FOLDER."""

import sys
from pathlib import Path

from safetensors.torch import load_file
from tests.support.distributed import made

made.dcp(Path(sys.argv[2]), load_file(sys.argv[1]), lambda shape: made.by_rows(shape, 4), ranks=4)

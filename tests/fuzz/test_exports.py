"""Changed bytes in exported models: a short run of what ``python -m tests.fuzz.exports`` does for long."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.exports import fuzz, samples


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["onnx", "pt2", "pt2 of before", "nemo", "package", "zip of one", "torch.ao"])
def test_changed_bytes_open_or_are_a_clean_error(kind: str, tmp_path: Path) -> None:
    sample = next(each for each in samples() if each.name == kind)
    became = list(fuzz(sample, 80, 7, tmp_path))
    assert len(became) == 80
    assert not [each for each in became if each.startswith("broken")]
    assert became.count("error") > 8

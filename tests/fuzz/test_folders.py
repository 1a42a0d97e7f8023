"""Changed bytes in folders of several ranks: a short run of what ``python -m tests.fuzz.folders`` does for long."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.folders import FOLDERS, fuzz


@pytest.mark.parametrize("kind", FOLDERS)
def test_changed_bytes_open_or_are_a_clean_error(kind: str, tmp_path: Path) -> None:
    became = list(fuzz(kind, 60, 7, tmp_path))
    assert len(became) == 60
    assert not [each for each in became if each.startswith("broken")]
    assert "error" in became

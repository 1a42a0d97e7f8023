"""What is written on a tensor in a picture of the whole model, and what its module says already."""

from __future__ import annotations

import pytest

from torch2grid_builtin._renderers.titles import inside

MODULES = ["net.layer3.", "net.layer3.1.", "net.layer3.2.", "net.layer2.1.", "head.", "4."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("net.layer3.1.conv.weight", "conv.weight"),
        ("net.layer3.0.conv.weight", "net.layer3.0.conv.weight"),  # of another build: it stands elsewhere
        ("net.layer2.1.conv.weight", "net.layer2.1.conv.weight"),  # nothing says which 1 is meant
        ("head.fc.weight", "fc.weight"),
        ("4.weight", "weight"),
        ("net.stem.weight", "net.stem.weight"),
    ],
)
def test_a_name_says_what_no_label_says(name: str, text: str) -> None:
    assert inside(MODULES, name) == text

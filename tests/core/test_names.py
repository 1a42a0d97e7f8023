"""Names of tensors as parts of a model."""

from __future__ import annotations

import pytest

from torch2grid_core.selection import modules


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["conv1.weight", "conv1.bias", "fc.weight"], ["conv1", "fc"]),
        (["w", "b"], [""]),
        (["0.weight", "2.weight", "2.bias"], ["0", "2"]),
        (
            [
                "model.embed.weight",
                "model.layers.0.mlp.up.weight",
                "model.layers.1.mlp.up.weight",
                "model.norm.weight",
                "head.w",
            ],
            ["model.embed", "model.layers.0", "model.layers.1", "model.norm", "head"],
        ),
        (
            ["module.conv1.weight", "module.layer1.0.conv1.weight", "module.layer1.0.bn1.weight", "module.fc.weight"],
            ["module.conv1", "module.layer1.0", "module.fc"],
        ),
        (["h.10.a.weight", "h.2.a.weight", "h.10.b.weight", "wte.weight"], ["h.10", "h.2", "wte"]),
        (["net.blocks.0.experts.3.w1.weight", "net.blocks.0.experts.4.w1.weight"], ["net.blocks.0"]),
    ],
)
def test_modules_are_layers_of_a_stack_or_the_first_part_behind_what_all_share(names: list[str], parts: list[str]) -> None:
    found = modules(names)
    assert list(found) == parts
    assert sorted(name for own in found.values() for name in own) == sorted(names)
    for own in found.values():
        assert own == [name for name in names if name in own]


def test_no_more_components_count_than_any_model_has() -> None:
    names = [f"{'.' * 200_000}{last}.weight" for last in "ab"]  # each looked at with all before it: minutes
    ((title, own),) = modules(names).items()
    assert len(title) < 100
    assert own == names
    deep = [".".join(["block"] * 60 + [str(number), "weight"]) for number in (0, 1)]
    assert [len(own) for own in modules(deep).values()] == [1, 1]

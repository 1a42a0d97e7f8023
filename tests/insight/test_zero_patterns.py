"""How zeros lie, against counting one by one; and what the usual initialisations look like."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from tests.support.tools import DIGITS
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._views.initialisations import SURE, as_initialised
from torch2grid_builtin._views.stats import Stats
from torch2grid_builtin._views.zero_patterns import BLOCKS, GROUPS, ZeroPatterns
from torch2grid_core import measure
from torch2grid_core.measures import Chunk, Summary


def slowly(values):
    """(groups, block) by the definition."""
    living = values != 0
    rows, columns = values.shape
    zeros = int((~living).sum())
    if min(rows, columns) < 2 or zeros < 0.1 * values.size or zeros == values.size:
        return "", 0
    groups = ""
    for size, most in GROUPS:
        if columns % size == 0 and not groups:
            found = int(living.reshape(-1, size).sum(axis=1).max())
            groups = f"{found}:{size}" if found <= most and living.mean() >= 0.8 * found / size else ""
    for block in BLOCKS:
        if block > min(rows, columns):
            continue
        inside = sum(
            part.size
            for row in range(0, rows, block)
            for column in range(0, columns, block)
            if not (part := living[row : row + block, column : column + block]).any()
        )
        if inside >= 0.9 * zeros:
            return groups, block
    return groups, 0


@st.composite
def pruned(draw):
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if draw(st.booleans()):
        columns = 8 * draw(st.integers(1, 6))
    values = random.standard_normal((rows, columns)).astype(draw(st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16])))
    kind = draw(st.sampled_from(["dense", "anywhere", "groups", "blocks", "both"]))
    if kind == "anywhere":
        values[random.random(values.shape) < draw(st.floats(0.05, 1))] = 0
    if kind in ("groups", "both") and columns % 8 == 0:
        size, most = draw(st.sampled_from(GROUPS))
        ranks = random.random((values.size // size, size)).argsort(axis=1).argsort(axis=1)
        values.reshape(-1, size)[ranks >= most] = 0
    if kind in ("blocks", "both"):
        block = draw(st.sampled_from(BLOCKS))
        dead = random.random((-(-rows // block), -(-columns // block))) < 0.5
        values[dead.repeat(block, 0)[:rows].repeat(block, 1)[:, :columns]] = 0
    return values


@given(pruned(), st.data())
def test_patterns_are_those_of_the_definition_however_the_tensor_is_cut(values, data):
    tensor = checkpoint_of({"fc.weight": values})["fc.weight"]
    flat, need = values.reshape(-1), ZeroPatterns()
    cuts = sorted({0, len(flat), *data.draw(st.lists(st.integers(0, len(flat)), max_size=4))})
    collectors = []
    for start, stop in itertools.pairwise(cuts):
        collectors.append(need.collector({"fc.weight": tensor}))
        middle = (start + stop) // 2
        for first, last in ((start, middle), (middle, stop)):
            collectors[-1].update(Chunk("fc.weight", first, flat[first:last]))
    whole, *others = reversed(collectors) if data.draw(st.booleans()) else collectors
    for each in others:
        whole.merge(each)
    found = whole.result()
    assert (found.weights, found.zeros) == (values.size, int((values == 0).sum()))
    assert (found.groups, found.block) == slowly(values)


INITIALISED = {
    "Kaiming uniform of torch.nn": lambda: torch.nn.Linear(96, 128).weight,
    "Kaiming normal": lambda: torch.nn.init.kaiming_normal_(torch.empty(128, 96)),
    "Kaiming normal, fan-out": lambda: torch.nn.init.kaiming_normal_(torch.empty(32, 64, 3, 3), mode="fan_out"),
    "Kaiming uniform": lambda: torch.nn.init.kaiming_uniform_(torch.empty(128, 96)),
    "Xavier uniform": lambda: torch.nn.init.xavier_uniform_(torch.empty(128, 96)),
    "Xavier normal": lambda: torch.nn.init.xavier_normal_(torch.empty(128, 96)),
    "LeCun normal": lambda: torch.nn.init.normal_(torch.empty(128, 96), 0, 96**-0.5),
    "normal 0.02": lambda: torch.nn.init.normal_(torch.empty(128, 96), 0, 0.02),
    "normal 1": lambda: torch.nn.Embedding(128, 96).weight,
}


def looks_of(values):
    checkpoint = checkpoint_of({"fc.weight": values})
    (summary,) = (found["summary"] for _, found in measure(checkpoint, {"summary": Summary()}))
    return as_initialised(checkpoint["fc.weight"], summary)


@pytest.mark.parametrize("name", INITIALISED)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_what_an_initialisation_leaves_is_named(name, dtype):
    torch.manual_seed(3)
    named = [looks_of(INITIALISED[name]().detach().numpy().astype(dtype)) for _ in range(20)]
    assert sum(name in each.split(" or ") for each in named) >= 19
    values = INITIALISED[name]().detach().numpy()
    sizes = np.linspace(0.6, 1.4, len(values)).reshape(
        -1, *[1] * (values.ndim - 1)
    )  # units of different size, as training makes
    assert name not in looks_of((values * sizes).astype(dtype)).split(" or ")


def test_trained_weights_and_small_tensors_look_like_none():
    page = t2g.draw(DIGITS, "stats:detail=true")["stats"].to_pandas()
    assert not page["As initialised"].any()
    torch.manual_seed(0)
    small = torch.nn.Linear(8, SURE // 8 - 1).weight.detach().numpy()
    assert looks_of(small) == ""
    ill = torch.nn.Linear(64, 64).weight.detach().numpy()
    ill[0, 0] = np.nan
    assert looks_of(ill) == ""


def test_the_table_says_both():
    torch.manual_seed(0)
    pruned_ = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    pruned_[:, ::2] = 0
    arrays = {
        "a.weight": torch.nn.Linear(64, 64).weight.detach().numpy(),
        "b.weight": pruned_,
        "b.bias": np.zeros(64, np.float32),
    }
    (page,) = draw(Stats(detail=True), arrays).values()
    rows = {row[0]: dict(zip(page.panels[0].columns, row, strict=True)) for row in page.panels[0].rows}
    assert rows["a.weight"]["As initialised"] == "Kaiming uniform of torch.nn"
    assert rows["b.weight"]["Zeros lie"] == "2:4"
    assert rows["b.bias"]["Zeros lie"] == ""

"""Rows that training never reached are found where they were planted, and no others; tokens are text of a stranger."""

from __future__ import annotations

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.renderers.pixels import pixels
from tests.support.tools import torch2grid
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._views.vocabulary import OF_ROWS, OF_TABLES, VocabularyView, suspects
from torch2grid_builtin._vocabulary.rows import EQUAL, NOT_FINITE, TOGETHER, ZERO, Vocabulary
from torch2grid_builtin._vocabulary.tokens import tokens_of
from torch2grid_core import NotDrawable, measure

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
KINDS = ("initialised", "decayed", "pushed", "zero", "equal")


def trained(rows, width, seed=0):
    """Rows of different sizes, in twenty topics, with a mean that is not zero."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((20, width))
    own = rng.standard_normal((rows, width)) * np.exp(rng.normal(0, 0.25, (rows, 1)))
    return own + 0.6 * topics[rng.integers(0, 20, rows)] + 0.7 * rng.standard_normal(width)


def planted(rows, width, share, kind, seed=0):
    rng = np.random.default_rng(seed + 1)
    found = trained(rows, width, seed)
    count = max(round(rows * share), 4)
    ids = np.sort(rng.choice(rows, count, replace=False))
    found[ids] = {
        "initialised": lambda: rng.normal(0, 0.02, (count, width)),
        "decayed": lambda: rng.normal(0, 0.2, (count, width)),
        "pushed": lambda: 1.5 * rng.standard_normal(width) + 0.5 * rng.standard_normal((count, width)),
        "zero": lambda: np.zeros((count, width)),
        "equal": lambda: np.tile(rng.standard_normal(width), (count, 1)),
    }[kind]()
    return found * 0.05, ids


def rows_of(table, known=()):
    return dict(measure(checkpoint_of({"w": table}), {"v": Vocabulary(known)}))["w"]["v"]


def lines(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "width"), [(4000, 64), (4000, 256), (12_000, 96)])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.2])
def test_all_planted_rows_are_found_and_at_most_one_in_a_hundred_others(kind, rows, width, share) -> None:
    dtype = ml_dtypes.bfloat16 if width == 64 else np.float16 if width == 96 else np.float32
    table, ids = planted(rows, width, share, kind, seed=width)
    found = np.flatnonzero(rows_of(table.astype(dtype)).why)
    assert set(ids) <= set(found)
    assert len(set(found) - set(ids)) <= 0.01 * (rows - len(ids))


@pytest.mark.parametrize("width", [64, 128, 256])
@pytest.mark.parametrize("seed", range(4))
def test_small_rows_are_found_below_a_gap_that_is_no_wider_than_they_spread(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 0.06, (3000, width)) * rng.uniform(0.7, 1.3, (3000, 1))
    ids = np.sort(rng.choice(3000, 20, replace=False))
    table[ids] = rng.normal(0, 0.02, (20, width))
    assert np.array_equal(np.flatnonzero(rows_of(table.astype(np.float32)).why), ids)


@pytest.mark.parametrize("size", [1e-200, 1e200, 1e300])
def test_numbers_of_any_size_are_not_called_nan(size: float) -> None:
    found = rows_of(trained(500, 64) * size)
    assert not found.why.any()
    assert np.allclose(found.norms / size, np.linalg.norm(trained(500, 64), axis=1))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_found_where_all_rows_are_trained_or_none_is(seed: int) -> None:
    assert not rows_of(trained(3000, 128, seed).astype(np.float32)).why.any()
    assert not rows_of(np.random.default_rng(seed).standard_normal((3000, 128)).astype(np.float32)).why.any()


def test_known_unused_rows_lead_to_others_that_lie_with_them() -> None:
    rng = np.random.default_rng(3)
    table = trained(3000, 128)
    table[[7, 8, 9, 2000, 2001]] = 1.2 * rng.standard_normal(128) + 0.6 * rng.standard_normal((5, 128))
    found = rows_of(table.astype(np.float32), (7, 8, 9))
    assert set(np.flatnonzero(found.why == TOGETHER)) == {7, 8, 9, 2000, 2001}
    assert found.unused is not None
    assert found.limits[TOGETHER] < found.unused[found.why == 0].min()


def test_figures_are_those_of_their_definitions() -> None:
    table, ids = planted(1500, 64, 0.02, "pushed")
    table = table.astype(np.float32)
    found = rows_of(table)
    wide = table.astype(np.float64)
    away = wide - wide.mean(0)
    assert np.allclose(found.norms, np.linalg.norm(wide, axis=1))
    assert np.allclose(found.distances, np.linalg.norm(away, axis=1))
    units = away / np.linalg.norm(away, axis=1, keepdims=True)
    place = units[ids].mean(0)
    assert np.allclose(found.unused, 1 - units @ (place / np.linalg.norm(place)), atol=1e-9)


def test_equal_zero_and_lost_rows_say_so_and_spoil_no_other_figure() -> None:
    table = trained(500, 32).astype(np.float32)
    clean = rows_of(table)
    table[100] = table[7]
    table[200] = 0
    table[300, 4] = np.nan
    table[301, 5] = np.inf
    found = rows_of(table)
    assert {row: int(found.why[row]) for row in (7, 100, 200, 300, 301)} == {
        7: EQUAL,
        100: EQUAL,
        200: ZERO,
        300: NOT_FINITE,
        301: NOT_FINITE,
    }
    assert found.twin[100] == found.twin[7] == 7
    assert (found.not_finite.nan, found.not_finite.inf) == (1, 1)
    assert math.isnan(found.norms[300])
    assert np.isfinite(np.delete(found.distances, [300, 301])).all()
    assert np.array_equal(np.delete(found.norms, [100, 200, 300, 301]), np.delete(clean.norms, [100, 200, 300, 301]))
    assert set(suspects(found)[:5]) == {7, 100, 200, 300, 301}
    _, rows = draw(VocabularyView(), {EMBEDDING: table})["vocabulary"].panels
    told = {line["Row"]: line["Why"] for line in lines(rows)}
    assert told[100] == "equal to row 7"
    assert told[300] == "NaN or Inf"
    assert told[200] == "all zero"


def test_embeddings_and_heads_are_drawn_and_tied_ones_once() -> None:
    shared = trained(400, 32).astype(np.float32)
    arrays = {
        EMBEDDING: shared,
        HEAD: trained(400, 32, 1).astype(np.float32),
        "score.head.weight": np.ones((64, 32), np.float32),
    }
    tables, rows = draw(VocabularyView(count=5), arrays)["vocabulary"].panels
    assert tables.columns == OF_TABLES
    assert rows.columns == OF_ROWS
    assert [line["Tensor"] for line in lines(tables)] == [EMBEDDING, HEAD]
    assert len(rows.rows) == 10
    tied = checkpoint_of({EMBEDDING: shared, HEAD: shared}, aliases={HEAD: EMBEDDING})
    assert [line["Tensor"] for line in lines(draw(VocabularyView(), tied)["vocabulary"].panels[0])] == [EMBEDDING]
    pictures = draw(VocabularyView(), arrays)["vocabulary_overview"].panels
    assert len(pictures) == 4


def test_what_lies_in_a_layer_or_between_two_widths_is_no_table_of_tokens() -> None:
    arrays = {
        EMBEDDING: trained(256, 32).astype(np.float32),
        "encoder.embedding_hidden_mapping_in.weight": trained(256, 32).astype(np.float32),
        "encoder.layers.0.ffn_output.weight": trained(256, 32).astype(np.float32),
        "encoder.position_embeddings.weight": trained(64, 32).astype(np.float32),
    }
    assert [line["Tensor"] for line in lines(draw(VocabularyView(), arrays)["vocabulary"].panels[0])] == [EMBEDDING]


def test_a_model_without_tokens_is_one_clear_line() -> None:
    with pytest.raises(NotDrawable, match="rows of tokens, in embeddings and heads, and there are none"):
        draw(VocabularyView(), {"fc.weight": np.ones((64, 32), np.float32)})


def saved(folder: Path, tokenizer: object, config: object = None) -> Path:
    table, ids = planted(400, 64, 0.02, "initialised")
    save_file({EMBEDDING: table.astype(np.float32)}, folder / "m.safetensors")
    for name, what in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        if what is not None:
            (folder / name).write_text(what if isinstance(what, str) else json.dumps(what), encoding="utf-8")
    (folder / "ids.json").write_text(json.dumps(ids.tolist()))
    return folder / "m.safetensors"


def test_tokens_stand_beside_their_rows_and_are_harmless(tmp_path: Path) -> None:
    words = {f"w{row}": row for row in range(400)}
    added = [{"id": row, "content": f"\x1b[31m\u202e<evil{row}>\n"} for row in range(400)]
    path = saved(tmp_path, {"model": {"vocab": words}, "added_tokens": added})
    out = torch2grid(path.name, "--vocabulary", "-o", "out", cwd=tmp_path)
    assert out.returncode == 0
    assert "\x1b" not in out.stdout
    assert "\u202e" not in out.stdout
    first = json.loads((tmp_path / "ids.json").read_text())[0]
    assert f"<evil{first}>" in out.stdout
    assert pixels((tmp_path / "out/vocabulary_overview.png").read_bytes()).std() > 1
    (table, _) = t2g.vocabulary(path, count=3)
    assert len(table.panels[1].rows) == 3


@pytest.mark.parametrize(
    "tokenizer",
    [
        "{",
        "[" * 100_000,
        "[]",
        '{"model": 3, "added_tokens": 4}',
        '{"model": {"vocab": {"a": "b", "c": -1, "d": 1e300}}}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_tokenizer_of_any_content_is_no_error(tmp_path: Path, tokenizer: str) -> None:
    path = saved(tmp_path, tokenizer, {"added_tokens_decoder": {"5": {"content": "five"}, "x": 3, "9" * 40: {}}})
    out = torch2grid(path.name, "--vocabulary", "-o", "out", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "never trained" in out.stdout


def test_free_tokens_are_those_without_text_and_those_named_so(tmp_path: Path) -> None:
    words = {"a": 0, "<unused3>": 1, "<|reserved_special_token_7|>": 2, "[unused4]": 3, "unusedly": 4, "b": 5}
    path = saved(tmp_path, {"model": {"vocab": words}})
    tokens = tokens_of(t2g.load(path))
    assert tokens.free(range(8)) == (1, 2, 3, 6, 7)
    assert tokens.free(range(2, 8, 2)) == (0, 2)  # of rows 2, 4 and 6

"""Tokens beside the weights, of every form that tokenizers are written in, and of none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import torch2grid as t2g
from torch2grid_builtin._vocabulary.tokens import tokens_of


def beside(tmp_path, **files):
    """A checkpoint with these files beside it: name without ending → text, or what is written as JSON."""
    save_file({"embed.weight": np.ones((4, 8), np.float32)}, tmp_path / "model.safetensors")
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    return t2g.load(tmp_path / "model.safetensors")


def test_a_vocabulary_is_a_mapping_or_a_list_and_added_tokens_come_last(tmp_path):
    words = {
        "model": {"vocab": {"a": 0, "b": 1, "odd": "x", "far": 1 << 40}},
        "added_tokens": [{"id": 1, "content": "<s>"}, 7, {"id": True}],
    }
    assert tokens_of(beside(tmp_path, tokenizer=words)).texts == {0: "a", 1: "<s>"}
    scored = {"model": {"vocab": [["a", -1.5], ["b", -2.0], [], 3]}, "added_tokens": None}
    assert tokens_of(beside(tmp_path, tokenizer=scored)).texts == {0: "a", 1: "b"}


def test_the_configuration_adds_tokens(tmp_path):
    config = {
        "added_tokens_decoder": {"2": {"content": "<pad>"}, "x": {"content": "no"}, "3": 4, "123456789": {"content": "far"}}
    }
    assert tokens_of(beside(tmp_path, tokenizer_config=config)).texts == {2: "<pad>"}
    assert tokens_of(
        beside(tmp_path, tokenizer_config={"added_tokens_decoder": []}, tokenizer={"model": {"vocab": {"a": 0}}})
    ).texts == {0: "a"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "tokenizer.json is not JSON"),
        ("[" * 100_000, "tokenizer.json is not JSON"),
        ("[1]", "tokenizer.json has none of the forms that are known here"),
        ('{"model": 3}', "tokenizer.json has none of the forms that are known here"),
    ],
)
def test_what_is_no_tokenizer_gives_none_and_says_why(tmp_path, content, why):
    found = tokens_of(beside(tmp_path, tokenizer=content))
    assert (dict(found.texts), found.why) == ({}, why)
    assert found.free(4) == ()


def test_rows_that_are_kept_free_and_odd_text(tmp_path):
    words = {"model": {"vocab": {"a": 0, "<unused7>": 1, "\x1b[31mred\n": 3}}}
    found = tokens_of(beside(tmp_path, tokenizer=words))
    assert found.free(range(5)) == (1, 2, 4)
    assert found.shown(2) == ""
    assert found.shown(3).isprintable()

"""Writes a small Llama as Meta stores it, and exports for Hugging Face: in bfloat16, with two mistakes, and in FP8.

python examples/exported_models.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, HEADS, KV_HEADS, LAYERS, INNER, WORDS, BLOCK = 64, 4, 2, 3, 96, 100, 32
HEAD = HIDDEN // HEADS
CONFIG = {"model_type": "llama", "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}
NAMES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
State = dict[str, torch.Tensor]


def trained() -> State:
    """The checkpoint, by Meta's names."""
    generator = torch.Generator().manual_seed(0)
    keys = HEAD * KV_HEADS
    square, wide = (HIDDEN, HIDDEN), (INNER, HIDDEN)
    shapes = [square, (keys, HIDDEN), (keys, HIDDEN), square, (HIDDEN,), (HIDDEN,), wide, (HIDDEN, INNER), wide]
    state = {name: torch.randn(WORDS, HIDDEN, generator=generator) / 8 for name in ("tok_embeddings.weight", "output.weight")}
    for layer in range(LAYERS):
        for name, shape in zip(NAMES, shapes, strict=True):
            center = float(len(shape) == 1)
            state[f"layers.{layer}.{name}.weight"] = center + torch.randn(shape, generator=generator) / 8
    return {**state, "norm.weight": 1 + torch.randn(HIDDEN, generator=generator) / 8}


def exported(state: State, permuted: tuple[str, ...] = ("attention.wq", "attention.wk")) -> State:
    """The same by Hugging Face's names, *permuted* from pairs of rows that rotate together to halves of each head."""
    outside = {"tok_embeddings": "model.embed_tokens", "output": "lm_head", "norm": "model.norm"}
    made = {f"{new}.weight": state[f"{old}.weight"] for old, new in outside.items()}
    for layer in range(LAYERS):
        for old, new in NAMES.items():
            weight = state[f"layers.{layer}.{old}.weight"]
            if old in permuted:
                weight = weight.view(-1, HEAD // 2, 2, HIDDEN).transpose(1, 2).reshape(weight.shape)
            made[f"model.layers.{layer}.{new}.weight"] = weight
    return made


def fp8(state: State) -> State:
    """The projections as codes of float8_e4m3fn with a scale for each block of 32 × 32."""
    made = {}
    for name, weight in state.items():
        if "_proj" not in name:
            made[name] = weight
            continue
        rows, columns = weight.shape
        blocks = weight.view(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scales = blocks.abs().amax((1, 3)) / 448
        made[name] = (blocks / scales[:, None, :, None]).view(weight.shape).to(torch.float8_e4m3fn)
        made[f"{name}_scale_inv"] = scales
    return made


def save(folder: Path, state: State, **config: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")


def main(folder: Path) -> None:
    state = trained()
    torch.save(state, folder / "consolidated.00.pth")
    right = exported(state)
    save(folder / "export", {name: weight.bfloat16() for name, weight in right.items()})
    wrong = exported(state, permuted=("attention.wk",))
    one, two = (f"model.layers.2.{name}.weight" for name in ("input_layernorm", "post_attention_layernorm"))
    wrong[one], wrong[two] = wrong[two], wrong[one]
    save(folder / "wrong", {name: weight.bfloat16() for name, weight in wrong.items()})
    save(folder / "fp8", fp8(right), quantization_config={"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]})


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

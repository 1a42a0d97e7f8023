"""The shapes of tensors of networks as people have them: what layouts and sheets are judged by."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]


def stack(prefix: str, count: int, each: Mapping[str, tuple[int, ...]]) -> Shapes:
    """*count* layers of the same tensors."""
    return {f"{prefix}.{layer}.{name}": shape for layer in range(count) for name, shape in each.items()}


def transformer(width: int = 128, keys: int = 32, inner: int = 352, layers: int = 22, words: int = 2000) -> Shapes:
    """A language model as Llama is built."""
    each = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (width, width),
        "self_attn.k_proj.weight": (keys, width),
        "self_attn.v_proj.weight": (keys, width),
        "self_attn.o_proj.weight": (width, width),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    first: Shapes = {"model.embed_tokens.weight": (words, width)}
    return first | stack("model.layers", layers, each) | {"model.norm.weight": (width,), "lm_head.weight": (words, width)}


def mixture(width: int = 128, inner: int = 448, layers: int = 4, experts: int = 8, words: int = 2000) -> Shapes:
    """A mixture of experts as Mixtral is built, each matrix a tensor."""
    each: Shapes = {
        "self_attn.q_proj.weight": (width, width),
        "self_attn.o_proj.weight": (width, width),
        "moe.gate.weight": (experts, width),
    }
    for expert in range(experts):
        each |= {
            f"moe.experts.{expert}.w1.weight": (inner, width),
            f"moe.experts.{expert}.w2.weight": (width, inner),
            f"moe.experts.{expert}.w3.weight": (inner, width),
        }
    each |= {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}  # behind the experts
    return {"model.embed.weight": (words, width)} | stack("model.layers", layers, each) | {"head.weight": (words, width)}


def stacked_mixture(width: int = 128, inner: int = 320, layers: int = 4, experts: int = 8) -> Shapes:
    """The same with the experts of a layer in one tensor, and one projection for Q, K and V."""
    each = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "moe.experts.gate_up_proj": (experts, width, 2 * inner),
        "moe.experts.down_proj": (experts, inner, width),
    }
    return {"embed.weight": (1000, width)} | stack("layers", layers, each) | {"head.weight": (1000, width)}


def convolutional(width: int = 16, classes: int = 1000) -> Shapes:
    """A residual network of 18 layers."""
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes: Shapes = {"conv1.weight": (width, 3, 7, 7)} | {f"bn1.{leaf}": (width,) for leaf in norm}
    inputs = width
    for stage in range(4):
        out = width * 2**stage
        for block in range(2):
            stem = f"layer{stage + 1}.{block}"
            for index, channels in ((1, inputs), (2, out)):
                shapes[f"{stem}.conv{index}.weight"] = (out, channels, 3, 3)
                shapes |= {f"{stem}.bn{index}.{leaf}": (out,) for leaf in norm}
            if out != inputs:
                shapes[f"{stem}.downsample.0.weight"] = (out, inputs, 1, 1)
                shapes |= {f"{stem}.downsample.1.{leaf}": (out,) for leaf in norm}
            inputs = out
    return shapes | {"fc.weight": (classes, inputs), "fc.bias": (classes,)}


def five_hundred(width: int = 96) -> Shapes:
    """A transformer of 41 layers with biases: 498 tensors."""
    each: Shapes = {}
    for name, shape in {
        "attn.in_proj": (3 * width, width),
        "attn.out_proj": (width, width),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
    }.items():
        leaf = "_" if name == "attn.in_proj" else "."
        each |= {f"{name}{leaf}weight": shape, f"{name}{leaf}bias": shape[:1]}
    each |= {f"ln{index}.{leaf}": (width,) for index in (1, 2) for leaf in ("weight", "bias")}
    ends = {"ln.weight": (width,), "ln.bias": (width,), "head.weight": (2000, width), "head.bias": (2000,)}
    return {"embed.weight": (2000, width), "pos.weight": (128, width)} | stack("blocks", 41, each) | ends


NETWORKS: dict[str, Shapes] = {
    "cnn": convolutional(),
    "resnet18": convolutional(64),
    "transformer22": transformer(),
    "tinyllama": transformer(2048, 256, 5632, 22, 32000),
    "mixture8": mixture(),
    "stacked8": stacked_mixture(),
    "tensors500": five_hundred(),
}

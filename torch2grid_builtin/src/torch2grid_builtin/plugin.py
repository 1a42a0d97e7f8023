"""What this distribution brings, by name. Nothing heavy is imported here: every class is ``Lazy``."""

from __future__ import annotations

from torch2grid_builtin._adapters import SOUGHT
from torch2grid_builtin._undecoded import OTHER_ENDS, OTHER_PARTS
from torch2grid_core import Lazy, hookimpl

_HERE = "torch2grid_builtin"


@hookimpl
def torch2grid_loaders() -> list[Lazy]:
    loaders = f"{_HERE}._loaders"
    return [
        Lazy(f"{loaders}.live:LiveModule", "module", "a live nn.Module, on any device", accepts="objects"),
        Lazy(
            f"{loaders}.live:StateDict",
            "state-dict",
            "a mapping of names to tensors or arrays, or one tensor",
            accepts="objects",
        ),
        Lazy(f"{loaders}.archived:Archived", "archive", "a zip or tar archive that holds one checkpoint, and .nemo files"),
        Lazy(f"{loaders}.dcp:DistributedCheckpoint", "dcp", "a folder that torch.distributed.checkpoint wrote"),
        Lazy(f"{loaders}.deepspeed:DeepSpeed", "deepspeed", "a folder of DeepSpeed's ZeRO, stages 1 to 3: its float32 weights"),
        Lazy(f"{loaders}.megatron:Megatron", "megatron", "a folder of Megatron-LM's ranks, put together by names"),
        Lazy(f"{loaders}.numpy_files:Npy", "npy", "one numpy array (.npy)"),
        Lazy(f"{loaders}.numpy_files:Npz", "npz", "numpy arrays in a zip archive (.npz), compressed or not"),
        Lazy(f"{loaders}.onnx:Onnx", "onnx", "an ONNX model (.onnx), with the files beside it that hold its numbers"),
        Lazy(f"{loaders}.pickled:Pickled", "pickle", "a plain pickle of tensors or numpy arrays (.pkl), of any protocol"),
        Lazy(f"{loaders}.ranks:RankFiles", "ranks", "a folder of files of ranks, with shards of DTensors or ShardedTensors"),
        Lazy(f"{loaders}.safetensors:Safetensors", "safetensors", "one .safetensors file"),
        Lazy(f"{loaders}.sharded:Sharded", "sharded", "a *.index.json and its shards, numbered shards, or their folder"),
        Lazy(
            f"{loaders}.sliced:SlicedSafetensors",
            "sliced-safetensors",
            "a folder of slices in safetensors that torch.distributed.checkpoint wrote",
        ),
        Lazy(f"{loaders}.exported:Exported", "torch-export", "a program that torch.export.save wrote (.pt2): its weights"),
        Lazy(f"{loaders}.torch_legacy:TorchLegacy", "torch-legacy", "what torch.save wrote before PyTorch 1.6, a stream"),
        Lazy(f"{loaders}.torch_package:TorchPackage", "torch-package", "what torch.package writes: pickles with source code"),
        Lazy(f"{loaders}.torch_tar:TorchTar", "torch-tar", "what torch.save wrote before PyTorch 0.4, a tar archive"),
        Lazy(f"{loaders}.torch_zip:TorchZip", "torch-zip", "what torch.save writes since PyTorch 1.6, and TorchScript"),
    ]


@hookimpl
def torch2grid_decoders() -> list[Lazy]:
    decoders = f"{_HERE}._decoders"
    return [
        Lazy(
            f"{decoders}.adapter:AdapterPairs",
            "adapter",
            "LoRA of PEFT, Unsloth, diffusers and kohya: the change of each weight, (α/r)·B·A",
            within=SOUGHT,
        ),
        Lazy(f"{decoders}.gptq:Awq", "awq", "AWQ of 4 bits, gemm and gemv", ends=("qweight",)),
        Lazy(
            f"{decoders}.bitnet:BitNet",
            "bitnet",
            "BitNet of 2 bits; it says of AQLM, VPTQ, SpQR, Marlin, EETQ, QuIP#, ExLlama and HIGGS that they are not decoded",
            ends=("weight_scale", *(f".{end}" for end in OTHER_ENDS)),
            within=OTHER_PARTS,
        ),
        Lazy(
            f"{decoders}.bitsandbytes:BitsAndBytes",
            "bitsandbytes",
            "bitsandbytes: NF4 and FP4, nested or not, and INT8",
            ends=("bitsandbytes__nf4", "bitsandbytes__fp4", "SCB", "code"),
        ),
        Lazy(
            f"{decoders}.block_fp8:BlockFp8",
            "block_fp8",
            "DeepSeek's FP8 with a scale for each block (weight_scale_inv), Mistral's and ComfyUI's",
            ends=("_scale_inv", "_scale", ".scale", ".qscale_weight", ".scale_weight"),
        ),
        Lazy(
            f"{decoders}.compressed_tensors:CompressedTensors",
            "compressed_tensors",
            "compressed-tensors: INT4 and other packed integers, INT8, FP8, NVFP4, MXFP4, MXFP6 and MXFP8",
            ends=("weight_packed", "weight_scale"),
        ),
        Lazy(
            f"{decoders}.gptq:Gptq", "gptq", "GPTQ of 2, 3, 4 and 8 bits, versions 1 and 2, with act-order", ends=("qweight",)
        ),
        Lazy(f"{decoders}.hqq:Hqq", "hqq", "HQQ of 1, 2, 3, 4 and 8 bits", ends=("W_q",)),
        Lazy(
            f"{decoders}.mlx:Mlx",
            "mlx",
            "MLX of 1, 2, 3, 4, 5, 6 and 8 bits, embeddings and heads too, and its MXFP4, MXFP8 and NVFP4",
            ends=("scales",),
        ),
        Lazy(
            f"{decoders}.mxfp4:Mxfp4",
            "mxfp4",
            "MXFP4 of gpt-oss (_blocks and _scales), turned to the model's shapes",
            ends=("_blocks", ".blocks"),
        ),
        Lazy(
            f"{decoders}.onnx_runtime:OnnxRuntime",
            "onnx_runtime",
            "ONNX Runtime's INT8 (_quantized, _scale, _zero_point), and its blocks of 2, 4 and 8 bits (_Q4, _scales)",
            ends=("_quantized", "_scales"),
        ),
        Lazy(f"{decoders}.quanto:Quanto", "quanto", "optimum-quanto: qint2, qint4, qint8 and qfloat8", ends=("_data",)),
        Lazy(
            f"{decoders}.torchao:TorchAo",
            "torchao",
            "torchao's tensor subclasses: int8, float8, int4, intx, MX and NVFP4",
            ends=("qdata", "int_data", "float8_data", "packed_weight"),
        ),
    ]


@hookimpl
def torch2grid_filters() -> list[Lazy]:
    filters = f"{_HERE}._filters"
    return [
        Lazy(f"{filters}:Only", "only", "the tensors whose names match a pattern", flag="GLOB"),
        Lazy(f"{filters}:SkipNames", "skip", "all but the tensors whose names match a pattern", flag="GLOB"),
        Lazy(f"{filters}:Positions", "tensors", "the tensors of these numbers in the menu and 'tree --flat'", flag="1,3-5"),
        Lazy(f"{filters}:WeightsOnly", "weights_only", "tensors named weight: no biases, no running statistics"),
        Lazy(f"{filters}:Floating", "floating", "tensors of a floating type"),
        Lazy(f"{filters}:MinSize", "min_size", "tensors of at least so many weights"),
        Lazy(f"{filters}:Largest", "largest", "the largest tensors, in their order"),
    ]


@hookimpl
def torch2grid_transformers() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}._transformers.flatten:Flatten", "flatten", "all weights in the order of the file, row after row"),
        Lazy(f"{_HERE}._transformers.flatten:Spiral", "spiral", "all weights in order, wound from the centre outwards"),
        Lazy(f"{_HERE}._transformers.flatten:Normalized", "normalized", "all weights in order, scaled to [0, 1]"),
        Lazy(
            f"{_HERE}._transformers.layer_weighted:LayerWeighted",
            "layer_weighted",
            "every tensor a patch with area in proportion to its size (a treemap)",
        ),
        Lazy(
            f"{_HERE}._transformers.layer_separated:LayerSeparated",
            "layer_separated",
            "every tensor a block of its own, matrices as they are, empty cells between",
        ),
        Lazy(
            f"{_HERE}._transformers.atlas:Atlas",
            "atlas",
            "every matrix as it is, module by module with names, kernels as tiles: a map of the model",
        ),
        Lazy(
            f"{_HERE}._transformers.hilbert:Hilbert", "hilbert", "all weights in order along a curve that keeps neighbours near"
        ),
    ]


@hookimpl
def torch2grid_views() -> list[Lazy]:
    return [
        Lazy(
            f"{_HERE}._views.adapter:AdapterView",
            "adapter",
            "an adapter's change of each weight: (α/r)·B·A, its singular values, norms and unused ranks",
        ),
        Lazy(f"{_HERE}._views.grid:GridView", "grid", "one grid of all weights"),
        Lazy(f"{_HERE}._views.layers:LayersView", "layers", "a picture per tensor, and all on one sheet"),
        Lazy(f"{_HERE}._views.conv:ConvView", "conv", "convolution kernels, a tile per channel"),
        Lazy(f"{_HERE}._views.histogram:HistogramView", "histogram", "a histogram per tensor, and all on one sheet"),
        Lazy(f"{_HERE}._views.stats:Stats", "stats", "a table of mean, std, min, max, near-zero share"),
        Lazy(
            f"{_HERE}._views.dead_neurons:DeadNeurons",
            "dead_neurons",
            "units that are near zero throughout or repeat others: table, report, picture",
        ),
        Lazy(f"{_HERE}._views.values:ValuesView", "values", "the numbers themselves, each with its index"),
        Lazy(
            f"{_HERE}._views.outliers:Outliers",
            "outliers",
            "weights, rows, columns and layers that stick out",
        ),
        Lazy(
            f"{_HERE}._views.spectrum:SpectrumView",
            "spectrum",
            "singular values of every matrix: ranks, the exponent of the tail, spikes",
        ),
        Lazy(
            f"{_HERE}._views.heads:HeadsView",
            "heads",
            "attention heads: QK and OV circuits, which are alike, which read what others write",
        ),
        Lazy(
            f"{_HERE}._views.experts:ExpertsView",
            "experts",
            "experts of mixtures: norms, ranks, dead shares, which are alike, router gains",
        ),
        Lazy(
            f"{_HERE}._views.quantization:QuantizationView",
            "quantization",
            "what INT8, INT4, NF4, FP8, MXFP4 and NVFP4 would cost each tensor, row and block",
        ),
        Lazy(
            f"{_HERE}._views.vocabulary:VocabularyView",
            "vocabulary",
            "rows of embeddings and heads: norms, rows never trained, equal rows, their tokens",
        ),
        Lazy(
            f"{_HERE}._views.gradients:GradientsView",
            "gradients",
            "the gradients of a file that holds them: flow through the layers, a page each",
        ),
        Lazy(
            f"{_HERE}._views.optimizer:OptimizerView",
            "optimizer",
            "a training checkpoint's Adam moments or momentum, and the last update",
        ),
    ]


@hookimpl
def torch2grid_renderers() -> list[Lazy]:
    return [
        Lazy(
            f"{_HERE}._renderers.matplotlib.renderer:Matplotlib",
            "matplotlib",
            "png, jpg, webp, svg and pdf figures",
            formats=("png", "svg", "pdf", "jpg", "jpeg", "webp"),
        ),
        Lazy(f"{_HERE}._renderers.gif:Gif", "gif", "animated pictures, a frame for each page", formats=("gif",)),
        Lazy(
            f"{_HERE}._renderers.html.renderer:Html",
            "html",
            "pages to explore, in one file that needs no network",
            formats=("html",),
        ),
        Lazy(f"{_HERE}._renderers.data:Json", "json", "the pages' data as JSON", formats=("json",)),
        Lazy(f"{_HERE}._renderers.data:Csv", "csv", "the pages' data as CSV tables", formats=("csv",)),
        Lazy(f"{_HERE}._renderers.npy:Npy", "npy", "numbers as numpy arrays, for --values", formats=("npy",)),
        Lazy(
            f"{_HERE}._renderers.terminal.renderer:Terminal",
            "terminal",
            "pictures, histograms and tables in the terminal",
            formats=("terminal",),
        ),
    ]


@hookimpl
def torch2grid_rules() -> list[Lazy]:
    rules = f"{_HERE}._rules"
    return [
        Lazy(f"{rules}.values:NaN", "nan", "weights that are NaN"),
        Lazy(f"{rules}.values:Inf", "inf", "weights that are infinite (−Inf in a mask is none)"),
        Lazy(f"{rules}.values:AllZero", "all_zero", "weights that are nothing but zeros"),
        Lazy(f"{rules}.values:Constant", "constant", "matrices and kernels of one number throughout"),
        Lazy(f"{rules}.values:Exploding", "exploding", "weights larger than training leaves them"),
        Lazy(
            f"{rules}.precision:Subnormal",
            "subnormal",
            "a large share of subnormal weights, which have lost digits and are slow",
        ),
        Lazy(f"{rules}.precision:Float16Range", "float16_range", "weights that float16 cannot hold, or that it has cut off"),
        Lazy(f"{rules}.foreign:Runs", "runs", "neighbouring weights that are zero, equal or tiny, more than chance explains"),
        Lazy(f"{rules}.foreign:Strays", "strays", "a few weights far beyond all others of their tensor: flipped bits"),
        Lazy(f"{rules}.foreign:RepeatedBlocks", "repeated_block", "a block of weights that stands twice in a tensor"),
        Lazy(f"{rules}.units:DeadUnitShare", "dead_units", "layers of which many rows, columns, filters or channels are dead"),
        Lazy(f"{rules}.units:DuplicateUnitShare", "duplicate_units", "layers of which rows or filters repeat one another"),
        Lazy(f"{rules}.initialisation:Initialisation", "initialisation", "weights that look untrained, or badly scaled"),
        Lazy(f"{rules}.siblings:ScaledUnits", "scaled_unit", "a row, column or filter far larger than all others"),
        Lazy(f"{rules}.siblings:ScaledLayers", "scaled_layer", "a layer of another size than its siblings"),
        Lazy(f"{rules}.siblings:UntrainedRows", "untrained_rows", "rows of an embedding that training has not reached"),
        Lazy(f"{rules}.siblings:Gains", "gains", "the gain of a normalisation far beyond those of all others"),
        Lazy(f"{rules}.copies:CopiedLayers", "copied_layer", "layers that repeat another layer weight for weight"),
        Lazy(f"{rules}.copies:AverageIsModel", "average", "an average (EMA) that equals its model"),
        Lazy(f"{rules}.files:MixedDtypes", "mixed_dtypes", "more than one floating type in one checkpoint"),
        Lazy(f"{rules}.files:ZeroSize", "zero_size", "tensors without a single weight"),
        Lazy(f"{rules}.files:TiedWeights", "tied_weights", "tensors that are views of one storage"),
        Lazy(
            f"{rules}.files:NotRun", "not_run", "names that the pickle imports or calls and that are not known to be harmless"
        ),
        Lazy(f"{rules}.files:Inconsistent", "inconsistent", "files of one checkpoint that disagree: an index and its shards"),
        Lazy(
            f"{rules}.configuration:Configuration",
            "config",
            "layers, sizes or dtypes that are not those of the config.json beside the weights",
        ),
    ]


@hookimpl
def torch2grid_commands() -> list[Lazy]:
    return [
        Lazy(
            f"{_HERE}._commands.check:Check",
            "check",
            "look for NaN, dead units, exploded weights, code in the pickle",
        ),
        Lazy(
            f"{_HERE}._commands.compare:Compare",
            "compare",
            "show what changed between checkpoints, or over a run",
        ),
        Lazy(f"{_HERE}._commands.demo:Demo", "demo", "draw a small trained network, untrained and trained side by side"),
        Lazy(
            f"{_HERE}._commands.new_plugin:NewPlugin",
            "new-plugin",
            "write a project to start a plugin from, with tests that pass",
        ),
        Lazy(f"{_HERE}._commands.tree:Tree", "tree", "list modules and tensors with shapes, dtypes, weights and bytes"),
    ]

"""What names say: which shard or rank a file is, which of several files is the model, and what a folder of shares is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch2grid_core._data.foreign import foreign_folder
from torch2grid_core._data.source import Source, ahead_of, has_file
from torch2grid_core._errors import LoadError, WrongAnswer
from torch2grid_core._text import visible

_LISTED = 10_000
_NAMED = 6
_SHARD = re.compile(r"(.*[^\d])(\d{4,6})(-of-)(\d{4,6})(\.[\w.]+)")  # one that DeepSeek has is 00001-of-000163
_ANY = re.compile(r"(?P<a>(?:.*[^a-zA-Z])?rank[._-]?)(?P<rank>\d+)(?P<b>(?:\D.*)?)")
_SLICED = re.compile(r"(?P<a>shard-)(?P<rank>\d{5})(?P<b>-.+-\d{5}-of-\d{5}\.safetensors)")  # of DCP, counted from 1
# Where the number of a rank stands in the name of a file, or of the folder that holds it.
_RANKS = (
    re.compile(r"(?P<a>__)(?P<rank>\d+)(?P<b>_\d+\.distcp)"),
    re.compile(r"(?P<a>.*zero_pp_rank_)(?P<rank>\d+)(?P<b>_mp_rank_\d+.*)"),
    re.compile(r"(?P<a>.*\bmp_rank_)(?P<rank>\d+)(?P<b>(?:_\d+)*(?:[._-]\D.*)?)"),
    _SLICED,
    _ANY,
)
_PARALLEL = re.compile(r"(?P<a>consolidated\.)(?P<rank>\d\d)(?P<b>\.(?:pth|pt|safetensors))")  # one alone is a whole model
_FOLDERS = re.compile(r"(?P<a>mp_rank_)(?P<rank>\d+)(?P<b>(?:_\d+)*)")
_DEEPSPEED = re.compile(r"(?:.*zero_pp_rank_\d+_)?mp_rank_\d+(?:_\d+)*_(?:model|optim)_states\.pt")
_STEPS = 16  # folders of DeepSpeed's steps that are looked into
_DISTCP = re.compile(r"__(\d+)_\d+\.distcp")

# What trainers write beside a model: Hugging Face's, accelerate, Lightning, torchtune.
_BESIDE = re.compile(
    r"(?:.*[._-])?(?:optimizer|optim|optim_states?|scheduler|lr_scheduler|scaler|grad_scaler|training_args|rng_state|random_states?"
    r"|sampler|dl_state_dict|custom_checkpoint|trainer_state|training_state|train_state|recipe_state)(?:[._-]?\d+)*(?:\.\w+)?",
    re.IGNORECASE,
)
_STEP = re.compile(r"(?:.*[._-])?(?:checkpoint|ckpt|global_step|step|iter|iteration|epoch)[._=-]?\d+", re.IGNORECASE)
_MODELS = (
    ("model.safetensors", "pytorch_model.bin"),
    ("adapter_model.safetensors", "adapter_model.bin"),
    ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"),
)


@dataclass(frozen=True)
class Share:
    """One of several files that are a checkpoint only together, as their names say.

    Args:
        what: ``shard``, ``rank`` or, if each holds a slice of the tensors, ``share``.
        number: of this one.
        total: how many there are, 0 if no name says so.
        missing: names of shards that do not lie beside it.
    """

    what: str
    number: int
    total: int
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what} {self.number} of {self.total}" if self.total else f"{self.what} {self.number}"


def share_of(source: Source) -> Share | None:
    """Return what *source* is a share of, by its name and those beside it; ``None`` if it is not a share.

    It reads ``shard 1 of 2``, or ``rank 0 of 2``. A shard says in its own name how many there are; ranks are counted. A rank
    whose others are not there has total 0.
    """
    if source.is_folder:
        return None
    folder, name = source.folder, source.name
    if not _SLICED.fullmatch(name) and (found := _SHARD.fullmatch(name)):
        before, number, of, total, after = found.groups()
        if int(total) < 2 or int(number) > int(total):
            return None
        beside = set(_names(folder, None))
        every = [f"{before}{each:0{len(number)}d}{of}{total}{after}" for each in range(int(total) + 1)]
        first = int(int(number) == int(total) or (int(number) > 0 and every[0] not in beside))  # some count from 0
        missing = tuple(name for name in every[first : first + int(total)] if name not in beside) if beside else ()
        return Share("shard", int(number), int(total), missing)
    for pattern in (*_RANKS, _PARALLEL):
        if found := pattern.fullmatch(name):
            return _rank(pattern, found, _names(folder))
    if folder and (found := _FOLDERS.fullmatch(folder.name)):
        return _rank(_FOLDERS, found, _names(folder.folder))
    return None


def _rank(pattern: re.Pattern[str], found: re.Match[str], names: Iterable[str]) -> Share | None:
    """The rank of the file that *found* names, among *names*; ``None`` where the number is hardly one of a rank."""
    alike = _alike(pattern, found, names)
    ranks = {int(each["rank"]) for each in alike}
    if (pattern is _ANY and 0 not in ranks) or (pattern is _PARALLEL and len(ranks) < 2):
        return None  # lora_rank16.pt; a model that is whole
    if pattern is _SLICED:
        return Share("share", int(found["rank"]), max(ranks) if len(ranks) > 1 else 0)
    if len(alike) > len(ranks):  # ranks in two directions
        return Share("rank", [each[0] for each in alike].index(found[0]), len(alike))
    return Share("rank", int(found["rank"]), max(ranks) + 1 if len(ranks) > 1 else 0)


def _alike(pattern: re.Pattern[str], found: re.Match[str], names: Iterable[str]) -> list[re.Match[str]]:
    """Those of *names*, sorted, that differ from the one of *found* in numbers only, that one included."""
    matches = (pattern.fullmatch(name) for name in {*names, found[0]})
    return sorted((each for each in matches if each and _frame(each) == _frame(found)), key=lambda each: each[0])


def _frame(found: re.Match[str]) -> tuple[str, str]:
    return found["a"], re.sub(r"\d+", "0", found["b"])


def _names(folder: Source | None, most: int | None = _LISTED) -> Sequence[str]:
    try:
        return folder.entries[:most] if folder else ()
    except WrongAnswer:
        raise
    except LoadError:
        return ()


def remarks_on(source: Source, share: Share | None) -> list[str]:
    """Lines for the person who opens *source* alone, where names say that it is not the whole. share: what it is of that."""
    lines = []
    if share is not None and share.what == "shard":
        rest = f"{listed(share.missing)} {'is' if len(share.missing) == 1 else 'are'} not beside it"
        lines.append(f"{share} of a checkpoint, alone: {rest if share.missing else 'give the folder to open all of them'}")
    elif share is not None and share.total:
        lines.append(f"{share} by its name: what the others hold is not shown")
    elif share is not None:
        lines.append(f"{share} by its name; no other file of its kind lies beside it")
    folder = None if source.is_folder or ahead_of(source) else source.folder  # which would cost requests for this line alone
    if folder and has_file(folder, ".metadata") and any(_DISTCP.fullmatch(name) for name in _names(folder)):
        lines.append("it lies beside a distributed checkpoint: the tensors in its .distcp files are not shown")
    return lines


def listed(names: Sequence[str]) -> str:
    """The first of *names*, and how many more."""
    told = ", ".join(visible(name, 60) for name in names[:_NAMED])
    return f"{told} and {len(names) - _NAMED} more" if len(names) > _NAMED else told


def choose_model(names: Sequence[str]) -> tuple[str, str] | None:
    """Of the checkpoint files *names* in one folder, the model, and a line about the others; ``None`` where names do not tell.

    What a trainer writes beside its model (optimizer, schedule, random states), other variants (``model.fp16.safetensors``),
    other formats of a model that Hugging Face's libraries name (``pytorch_model.bin``) and shards of it are the others.
    """
    models = [name for name in names if not is_beside(name)] or list(names)
    kept = [name for name in models if not any(_is_variant(name, other) for other in models)]
    known = []
    for forms in _MODELS:
        model = next((form for form in forms if form in kept), "")
        if model:
            known.append(model)
            kept = [name for name in kept if name == model or not _is_other_form(name, forms)]
    if len(known) == 1 and not any(_is_second(name, known[0]) for name in kept):
        kept = known
    if len(kept) != 1:
        return None
    model = kept[0]
    variants = [name for name in models if _is_variant(name, model)]
    rest = [name for name in names if name != model and name not in variants]
    told = [f"{listed(variants)}, {'a variant' if len(variants) == 1 else 'variants'} of it"] if variants else []
    told += [listed(rest)] if rest else []
    return model, f"{visible(model, 60)} is shown; beside it: {'; '.join(told)}" if told else ""


def is_beside(name: str) -> bool:
    """True for a file or folder that trainers write beside a model: optimizer, schedule, random states, arguments."""
    return _BESIDE.fullmatch(name) is not None


def is_step(name: str) -> bool:
    """True for the folder of one step of a training: ``checkpoint-500``, ``step-10``, ``epoch_3``."""
    return _STEP.fullmatch(name) is not None


def in_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by the numbers in them: ``step-5`` before ``step-10``."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part[:1000]), "") if part.isdecimal() else (0, 0, part) for part in parts]


def shown_alone(name: str, rest: Sequence[str]) -> str:
    """A line that says what is shown of a folder, and what lies beside it: *rest*; nothing where that is all."""
    return f"{visible(name, 60)} is shown; beside it: {listed(rest)}" if rest else ""


def _is_variant(name: str, plain: str) -> bool:
    """True for ``model.fp16.safetensors`` beside ``model.safetensors``."""
    stem, dot, ending = plain.rpartition(".")
    return re.fullmatch(rf"{re.escape(stem)}\.[\w-]+{re.escape(dot + ending)}", name) is not None and bool(stem)


def _is_other_form(name: str, forms: tuple[str, ...]) -> bool:
    """True for the same model in the other format, and for shards of it."""
    shard = _SHARD.fullmatch(name)
    return name in forms or (shard is not None and any(shard[1] == f"{form.rpartition('.')[0]}-" for form in forms))


def _is_second(name: str, model: str) -> bool:
    """True for ``model_1.safetensors``, which accelerate writes of a second network."""
    stem, _, ending = model.rpartition(".")
    return re.fullmatch(rf"{stem}_\d+\.{ending}", name) is not None


def is_known_model(name: str) -> bool:
    """True for a name under which Hugging Face's libraries look for a model."""
    return any(name in forms for forms in _MODELS)


def spread_over(folder: Source, files: Sequence[str]) -> LoadError | None:
    """An error that names the distributed checkpoint in *folder*, and what to do; ``None`` where it holds none.

    files: the names of those in it that a loader opens.
    """

    def error(reason: str, advice: str) -> LoadError:
        return LoadError(folder.shown, reason, advice)

    names = set(folder.entries[:_LISTED])
    shares = [found for name in names if (found := _DISTCP.fullmatch(name))]
    if shares and ".metadata" in names:
        return error(
            f"is a distributed checkpoint of {_count(len({each[1] for each in shares}), 'rank')}",
            f"make one file of it: {merge_command(folder.shown)}",
        )
    if shares:
        return error("holds shares of a distributed checkpoint, without their index .metadata", "fetch the whole folder")
    sliced = [name for name in names if _SLICED.fullmatch(name)]
    if len(sliced) > 1:
        return error(
            f"is a distributed checkpoint of {len(sliced)} shares in safetensors, each with a slice of the tensors",
            "join them with consolidate_safetensors_files of torch.distributed.checkpoint",
        )
    deepspeed = sum(_DEEPSPEED.fullmatch(name) is not None for name in names)
    steps = [name for name in names if re.fullmatch(r"global_step\d+", name)] if names & {"latest", "zero_to_fp32.py"} else []
    if (deepspeed > 1 and deepspeed >= len(files) - 1) or any(_is_cut(folder, name) for name in steps[:_STEPS]):
        where = "its folder above" if deepspeed > 1 else "it"
        return error(
            "is a checkpoint of DeepSpeed, whose ranks have a file each",
            f"gather them with the zero_to_fp32.py that lies in {where}: python zero_to_fp32.py . OUTPUT",
        )
    ranks = {found["rank"] for name in names if (found := _FOLDERS.fullmatch(name))}
    if ranks or ("latest_checkpointed_iteration.txt" in names and any(name.startswith("iter_") for name in names)):
        return error(
            "is a checkpoint of Megatron-LM, whose ranks have a folder each",
            "convert it with Megatron-LM's tools/checkpoint/convert.py, or give the path of one rank's file",
        )
    for pattern in (*_RANKS, _PARALLEL):
        found = next((found for name in files if (found := pattern.fullmatch(name))), None)
        share = found and _rank(pattern, found, files)
        if found and share and share.total and len(_alike(pattern, found, files)) == len(files):
            return error(
                f"holds the files of {_count(len(files), 'rank')}: {listed(sorted(files))}",
                "save the gathered state dict as one file, or give the path of one to see its share",
            )
    foreign = foreign_folder(names)
    return error(*foreign) if foreign is not None else None


def _is_cut(folder: Source, step: str) -> bool:
    """True where DeepSpeed wrote several files to *step*, as ZeRO does; without it, one holds the whole model."""
    try:
        return sum(_DEEPSPEED.fullmatch(name) is not None for name in folder.child(step).entries) > 1
    except LoadError:
        return False


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def merge_command(folder: str) -> str:
    """The command of PyTorch that makes one file of a distributed checkpoint."""
    return f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} model.pt"

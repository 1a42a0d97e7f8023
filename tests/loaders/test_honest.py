"""Nothing that PyTorch writes is a finding: the allow-list is complete for honest files, and what is on it can be imported."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.corpus import manifest, needs_corpus, real
from tests.support.loaders.honest import everything
from tests.support.tools import torch2grid

from torch2grid_builtin._inert.allowed import ALLOWED, CALL, JUDGED, MAKE


def findings(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What ``check`` says of the code in each file of *folder*, by the file's name; an error of reading it is one, too."""
    files = sorted(path.name for path in folder.iterdir())
    run = torch2grid("check", "--no-plugins", *files, "--select", "T304", "--format", "json", "-q", cwd=folder, timeout=300)
    models = json.loads(run.stdout)["models"]
    assert len(models) == len(files), run.stderr
    return {
        file: model["findings"] or ([{"severity": "refused", "message": model["error"]}] if model.get("error") else [])
        for file, model in zip(files, models, strict=True)
    }


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_what_pytorch_writes_is_clean(how: str, tmp_path: Path) -> None:
    names: dict[str, str] = {}
    unpicklable: list[str] = []
    for index, (name, value) in enumerate(everything()):
        file = f"{index:03}.{'pkl' if how == 'pickle' else 'pt'}"
        names[file] = name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if how == "pickle":
                    (tmp_path / file).write_bytes(pickle.dumps(value, 2 + index % 4))
                else:
                    torch.save(value, tmp_path / file, _use_new_zipfile_serialization=how == "zip")
        except (TypeError, AttributeError, RuntimeError, NotImplementedError, pickle.PicklingError):
            unpicklable.append(name)
            (tmp_path / file).unlink(missing_ok=True)
    assert len(names) - len(unpicklable) > 230, unpicklable
    found = {names[file]: each for file, each in findings(tmp_path).items() if each}
    assert found == {}


@needs_corpus
def test_no_error_in_a_real_checkpoint(tmp_path: Path) -> None:
    for index, case in enumerate(manifest("real")):
        path = real(case["file"])
        (tmp_path / f"{index:03}{path.suffix}").symlink_to(path)
    found = findings(tmp_path)
    assert len(found) > 80
    assert [each for found_in in found.values() for each in found_in if each["severity"] == "error"] == []


def test_every_name_of_pytorch_on_the_list_that_exists_is_what_the_list_says() -> None:
    """A class where objects are made; and none of them is a function that the module took from elsewhere."""
    met = 0
    for path, level in ALLOWED.items():
        if level != MAKE or not path.startswith("torch."):
            continue
        module, _, name = path.rpartition(".")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue  # of an older or a newer PyTorch
        assert isinstance(value, type), path
        assert re.match(r"(torch|typing)\b", value.__module__), path
        met += 1
    assert met > 350


def test_what_is_judged_is_not_allowed_whatever_it_gets() -> None:
    assert not JUDGED & set(ALLOWED)
    for path in ("copyreg._reconstructor", "torch.storage._load_from_bytes", "numpy.memmap", "functools.partial"):
        assert path in JUDGED
    dangerous = ("os.", "posix.", "subprocess.", "itertools.", "operator.", "pickle.", "io.", "importlib.", "sys.")
    assert [path for path in (*ALLOWED, *JUDGED) if path.startswith(dangerous)] == ["os.stat_result"]
    assert all(ALLOWED[path] == CALL for path in ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.device"))

"""Checks inside other programs: pytest's fixture, and the callbacks of trainers, by the trainers themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from torch2grid.callbacks import CheckFailed, Saved


def saved(path: Path, ill: bool) -> Path:
    values = np.random.default_rng(2).normal(size=(20, 30)).astype(np.float32) * 0.02
    if ill:
        values[1, 2] = np.nan
    save_file({"fc.weight": values}, path)
    return path


def test_what_is_found_warns_stops_or_is_handed_on(tmp_path: Path) -> None:
    good, ill = saved(tmp_path / "good.safetensors", ill=False), saved(tmp_path / "ill.safetensors", ill=True)
    seen: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = Saved(stop=True)(good)
    assert result is not None
    assert result.clean
    with pytest.warns(RuntimeWarning, match=r"ill\.safetensors: 1 error"):
        Saved(found=lambda path, found: seen.append(f"{path}: {found[0].place}"))(ill)
    assert seen == [f"{ill}: fc.weight[1, 2]"]
    with pytest.raises(CheckFailed, match="T101 error"):
        Saved(stop=True)(ill)
    with pytest.warns(RuntimeWarning, match="none"):
        assert Saved(stop=True)(tmp_path / "none.pth") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Saved(stop=True, ignore="T101")(ill)


FIXTURE = """
def test_good(torch2grid_check):
    assert torch2grid_check("good.safetensors").clean

def test_ill(torch2grid_check):
    torch2grid_check("ill.safetensors")

def test_warnings(torch2grid_check):
    torch2grid_check("ill.safetensors", severity={"T101": "warning"})
    torch2grid_check("ill.safetensors", severity={"T101": "warning"}, fail_on="warning")
"""


def test_the_fixture_of_pytest(tmp_path: Path) -> None:
    saved(tmp_path / "good.safetensors", ill=False)
    saved(tmp_path / "ill.safetensors", ill=True)
    (tmp_path / "test_models.py").write_text(FIXTURE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    here = {
        name: value for name, value in os.environ.items() if name not in {"CI", "BUILD_NUMBER"}
    }  # where pytest repeats each message in its summary
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=300, check=False)
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert done.stdout.count("T101 error fc.weight[1, 2]: 1 of 600 weights is NaN") == 1
    assert done.stdout.count("T101 warning fc.weight[1, 2]") == 1
    assert "Traceback" not in done.stdout


@pytest.mark.filterwarnings("ignore")
def test_transformers_trainer_is_stopped_by_a_checkpoint_with_nan(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from torch2grid.callbacks.transformers import CheckSaved

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            return {"loss": (self.layer(x) - labels).square().mean() * (float("nan") if self.ill else 1.0)}

    found: list[str] = []
    for ill in (False, True):
        model = Tiny()
        model.ill = ill  # type: ignore[assignment]
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / f"run-{ill}"), max_steps=2, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
        )
        data = [{"x": torch.ones(8), "labels": torch.zeros(4)}] * 16
        checks = CheckSaved(stop=True, found=lambda path, result: found.append(path), ignore="T203")
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=data, callbacks=[checks])
        if ill:
            with pytest.raises(CheckFailed, match="NaN"):
                trainer.train()
        else:
            trainer.train()
    assert [Path(path).name for path in found] == ["checkpoint-1"]


@pytest.mark.filterwarnings("ignore")  # those of the trainer itself
def test_lightning_checks_each_checkpoint(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from torch2grid.callbacks.lightning import CheckSaved

    class Tiny(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.layer, self.factor = torch.nn.Linear(8, 4), factor

        def training_step(self, batch: Any, index: int) -> Any:
            return self.layer(batch).square().mean() * self.factor

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    found: list[str] = []
    for factor in (1.0, float("nan")):
        checks = CheckSaved(stop=True, found=lambda path, result: found.append(path), ignore="T203")
        trainer = lightning.Trainer(
            default_root_dir=tmp_path,
            max_epochs=1,
            plugins=[checks],
            logger=False,
            accelerator="cpu",
            enable_progress_bar=False,
        )
        data = torch.utils.data.DataLoader(torch.ones(8, 8), batch_size=4)
        if factor != factor:
            with pytest.raises(CheckFailed, match="NaN"):
                trainer.fit(Tiny(factor), data)
        else:
            trainer.fit(Tiny(factor), data)
    assert len(found) == 1

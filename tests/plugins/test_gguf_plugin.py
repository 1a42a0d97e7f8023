"""torch2grid-gguf as an installed distribution: its own tests, and GGUF files through the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.corpus import hostile
from tests.support.tools import PROJECT, torch2grid

gguf = pytest.importorskip("gguf")
ROOT = PROJECT / "plugins" / "torch2grid_gguf"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders for the import path: the source, and the metadata that an installer would write."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "torch2grid_gguf-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-gguf\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[torch2grid]\ngguf = torch2grid_gguf.plugin\n", encoding="utf-8")
    return [folder, ROOT / "src"]


def test_its_own_tests_pass(site: list[Path]) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-c", ROOT / "pyproject.toml"]
    path = os.pathsep.join(map(str, site))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, words), str(ROOT / "tests")], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_a_quantised_model_is_drawn_by_workers_as_by_one_process(site: list[Path], tmp_path: Path) -> None:
    import numpy as np

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    kind = gguf.GGMLQuantizationType.Q5_K
    random = np.random.default_rng(0)
    for layer in range(3):
        values = gguf.quants.quantize(random.normal(size=(8, 512)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"blk.{layer}.a.weight", values, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        block = random.integers(0, 60, (8, 2 * 176), dtype=np.uint8)
        writer.add_tensor(f"blk.{layer}.b.weight", block, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for jobs in (1, 2):
        run = torch2grid("x.gguf", "--layers", "--stats", "-j", jobs, "-o", f"by{jobs}", cwd=tmp_path, path=site)
        assert run.returncode == 0, run.stderr
        assert "x.gguf: GGUF v3, 6 tensors, 24,576 parameters, float32" in run.stderr
    for path in (tmp_path / "by1").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "by2" / path.relative_to(tmp_path / "by1")).read_bytes()


def test_a_hostile_file_is_one_line(site: list[Path], tmp_path: Path) -> None:
    run = torch2grid(hostile("c/gguf_bad.gguf"), cwd=tmp_path, path=site)
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert "gguf_bad.gguf: claims 4,611,686,018,427,387,904 tensors in 24 bytes" in line


def test_without_it_the_message_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    run = torch2grid("x.gguf", cwd=tmp_path)
    assert run.returncode == 1
    assert "is a GGUF file of llama.cpp; pip install torch2grid-gguf reads it" in run.stderr

"""The measured peak of matrix products: what it is, that it is remembered, and that it leaves random numbers and threads alone."""

import json
import time
from pathlib import Path

import pytest
import torch

from lm.training import peak


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_FOUND", {})
    monkeypatch.setattr(peak, "SECONDS_PER_SIZE", 0.0)


def test_a_peak_is_no_slower_than_one_product_and_changes_nothing(tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    found = peak.matmul_peak("cpu", "float32", 1, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert 1e8 < found < 1e14


def test_it_is_measured_once_and_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = peak.matmul_peak("cpu", "bfloat16", 1, tmp_path)
    (file,) = tmp_path.iterdir()
    body = json.loads(file.read_text())
    assert body["flops_per_second"] == found
    assert "bfloat16" in body["of"]
    assert torch.__version__ in body["of"]
    file.write_text(json.dumps(body | {"flops_per_second": 12.0}))
    assert peak.matmul_peak("cpu", "bfloat16", 1, tmp_path) == found
    monkeypatch.setattr(peak, "_FOUND", {})
    assert peak.matmul_peak("cpu", "bfloat16", 1, tmp_path) == 12.0


@pytest.mark.parametrize(("kept", "expected"), [(1e30, 1e30), (1.0, None)])
def test_a_day_later_the_larger_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float, expected: float | None) -> None:
    peak.matmul_peak("cpu", "float32", 1, tmp_path)
    (file,) = tmp_path.iterdir()
    old = {"flops_per_second": kept, "measured_at": time.time() - 2 * peak.CACHE_SECONDS}
    file.write_text(json.dumps(json.loads(file.read_text()) | old))
    monkeypatch.setattr(peak, "_FOUND", {})
    again = peak.matmul_peak("cpu", "float32", 1, tmp_path)
    assert again == expected if expected else again > 1e8


@pytest.mark.parametrize("text", ["", "[]", '{"flops_per_second": "fast"}', '{"flops_per_second": 0, "measured_at": 1e12}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    peak.matmul_peak("cpu", "float32", 1, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    monkeypatch.setattr(peak, "_FOUND", {})
    assert peak.matmul_peak("cpu", "float32", 1, tmp_path) > 1e8


def test_a_place_that_cannot_be_written_costs_the_measurement_again_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert peak.matmul_peak("cpu", "float32", 1, tmp_path / "file") > 1e8


def test_thread_counts_and_dtypes_have_peaks_of_their_own(tmp_path: Path) -> None:
    peak.matmul_peak("cpu", "float32", 1, tmp_path)
    peak.matmul_peak("cpu", "float32", 2, tmp_path)
    peak.matmul_peak("cpu", "bfloat16", 1, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(KeyError):
        peak.matmul_peak("cpu", "int8", 1, tmp_path)

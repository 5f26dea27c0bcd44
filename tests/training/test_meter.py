"""What the seconds and tokens of a window say, and what is kept of it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training import meter
from lm.training.clock import Seconds
from lm.training.machine import Machine
from lm.training.meter import Meter, memory_bytes
from lm.training.result import Progress
from lm.training.trainer import train_trunk
from lm.training.window import Speed, Window
from storage.schema.training import RUN_SPEED

CPU = torch.device("cpu")


def test_a_window_says_how_fast_it_was_and_where_its_seconds_went() -> None:
    speed = Meter(CONFIG, "cpu", peak_flops_per_second=1e9).speed(4, Seconds(total=4.0, waiting=1.0, saving=0.5))
    assert speed.tokens_per_second == CONFIG.batch_tokens
    assert speed.mfu == pytest.approx(CONFIG.batch_tokens * CONFIG.model.flops_per_token / 1e9)
    assert (speed.seconds, speed.waiting_share, speed.saving_share) == (4.0, 0.25, 0.125)


def test_a_clock_that_stood_still_divides_by_nothing() -> None:
    assert Meter(CONFIG, "cpu", 1e9).speed(10, Seconds()).waiting_share == 0.0


def test_memory_is_the_peak_of_this_process() -> None:
    before = memory_bytes(CPU)
    held = torch.ones(before // 4)  # 4 bytes each: as much again
    after = memory_bytes(CPU)
    assert held.numel()
    assert before > 10_000_000
    assert after > before


def test_windows_are_kept_as_plain_numbers_and_come_back_as_rows() -> None:
    speed = Speed(2.0, 320.0, 0.5, 0.25, 0.125, 1 << 20)
    body = {"speeds": [meter.kept(5, speed), meter.kept(10, speed)]}
    table = meter.rows("run", CONFIG, body, 2)
    assert table.schema == meter.SPEED_SCHEMA
    assert table.to_pylist()[1] == {
        "run_id": "run",
        "rung": 2,
        "step": 10,
        "num_tokens": 10 * CONFIG.batch_tokens,
        "seconds": 2.0,
        "tokens_per_second": 320.0,
        "mfu": 0.5,
        "waiting_share": 0.25,
        "saving_share": 0.125,
        "memory_bytes": 1 << 20,
    }
    assert len(meter.rows("run", CONFIG, {}, None)) == 0  # a state of before


def test_the_mean_of_a_run_weighs_windows_by_their_seconds() -> None:
    slow, quick = Speed(3.0, 100.0, 0.1, 0.4, 0.0, 7), Speed(1.0, 500.0, 0.5, 0.0, 0.2, 5)
    mean = meter.mean([{"speeds": [meter.kept(5, slow)]}, {"speeds": [meter.kept(10, quick)]}, {}])
    assert mean is not None
    assert (mean.tokens_per_second, mean.seconds, mean.memory_bytes) == (200.0, 4.0, 7)
    assert (mean.mfu, mean.waiting_share, mean.saving_share) == pytest.approx((0.2, 0.3, 0.05))
    assert meter.mean([{}]) is None


class Interrupted(Exception):
    pass


def test_a_run_that_was_stopped_has_the_windows_of_an_unbroken_one(data: TokenData, tmp_path: Path) -> None:
    seen: list[Window] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.window)
        if len(seen) == 4:
            raise Interrupted

    unbroken = train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "unbroken")
    keen = Machine(checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "stopped", on_progress=stop, machine=keen)
    resumed = train_trunk(CONFIG, data, RUNGS[:2], tmp_path / "stopped", on_progress=lambda p: seen.append(p.window), machine=keen)
    same = [name for name, column in RUN_SPEED.columns.items() if not column.volatile and name != "produced_by"]
    speed = pq.read_table(resumed.speed_file)
    assert speed.select(same).equals(pq.read_table(unbroken.speed_file).select(same))
    assert set(speed.column_names) == set(RUN_SPEED.columns) - {"produced_by"}
    metrics = pq.read_table(resumed.metrics_file).to_pylist()
    assert {(row["rung"], row["step"]) for row in speed.to_pylist()} == {(row["rung"], row["step"]) for row in metrics}
    assert {(w.path, w.step) for w in seen} == {(f"rung-{RUNGS[r]}" if r is not None else "trunk", s) for r, s in _windows(metrics)}


def _windows(metrics: list[dict[str, int]]) -> set[tuple[int | None, int]]:
    return {(row["rung"], row["step"]) for row in metrics}


def test_a_window_tells_what_it_measured(data: TokenData, tmp_path: Path) -> None:
    seen: list[Window] = []
    result = train_trunk(CONFIG, data, RUNGS[:1], tmp_path, on_progress=lambda p: seen.append(p.window))
    assert result.mfu is not None
    assert 0 < result.mfu < 1.5
    assert result.waiting_share is not None
    assert 0 <= result.waiting_share < 1
    assert all(window.speed.memory_bytes > 10_000_000 and window.speed.seconds > 0 for window in seen)
    assert 0.5 * result.seconds < sum(window.speed.seconds for window in seen) <= result.seconds  # the trunk leaves its last window open
    assert "tokens/s, MFU" in str(seen[0])
    assert seen[0].learning_rate > 0

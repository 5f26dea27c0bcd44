"""The record of a run, from what its finished rungs say, and from where it ended if it diverged.

A run that diverged leaves diverged.json: step, loss, gradient norm, rate, and the curve up to there. It fails at the same step whenever
it is trained again, so it is not: the record is raised as the error that it was. The rungs that it finished before are results like
any other.
"""

from collections.abc import Sequence

from lm.training import curve, meter
from lm.training.checkpoint import TRUNK, Body, CheckpointStore
from lm.training.clock import Seconds
from lm.training.config import RungPlan, TrainConfig
from lm.training.errors import Divergence
from lm.training.result import Checkpoint, TrunkResult

DIVERGED = "diverged"
"""Name of the record of a run that cannot go on."""


def note_divergence(store: CheckpointStore, divergence: Divergence, body: Body, environment: str) -> None:
    """Keep why a run cannot go on, and its curve up to there, beside its states."""
    store.note(DIVERGED, body | {"divergence": divergence.to_dict(), "environment": environment})


def divergence_before(store: CheckpointStore, plan: RungPlan, environment: str) -> Divergence | None:
    """Why a rung cannot be reached, if that was found before. Where another device or version of torch trains, it is tried again."""
    body = store.noted(DIVERGED)
    if body is None or body["environment"] != environment:
        return None
    found = Divergence.from_dict(body["divergence"])
    return found if found.path == plan.name or (found.path == TRUNK and found.step < plan.branch_step) else None


def collect(
    config: TrainConfig, ladder_id: str, store: CheckpointStore, plans: Sequence[RungPlan], divergence: Divergence | None = None
) -> TrunkResult:
    """Collect the run's record from what its finished rungs say and, if it diverged, from where it ended; and write the curve."""
    finished = [(i, plan, body) for i, plan in enumerate(plans) if (body := store.finished(plan.name)) is not None]
    assert divergence or len(finished) == len(plans), "every rung was just trained"
    end = store.noted(DIVERGED) if divergence else None
    walked = (
        finished if divergence is None else [*finished, *((i, p, end) for i, p in enumerate(plans) if end and p.name == divergence.path)]
    )
    bodies = [body for _, _, body in walked]
    trunk = end if end and divergence and divergence.path == TRUNK else bodies[-1]["trunk"] if bodies else {}
    metrics_file = _write_curve(config, store, trunk, walked)
    speed_file = _write_speed(config, store, trunk, walked)
    branch_steps = sum(body["step"] - plan.branch_step for _, plan, body in walked)
    train_tokens = (_trunk_steps(trunk, walked) + branch_steps) * config.batch_tokens
    num_tokens = max((plan.num_tokens for _, plan, _ in finished), default=0)
    seconds = sum(_total(body) for body in [trunk, *bodies])
    speed = meter.mean([trunk, *bodies])
    environments = [environment.split("|") for body in [trunk, *bodies] for environment in body.get("environments", [])]
    return TrunkResult(
        run_id=store.run_id,
        ladder_id=ladder_id,
        model=config.model.name,
        num_params=config.model.num_params,
        num_params_non_embedding=config.model.num_params_non_embedding,
        seed=config.seed,
        config=config.to_json(),
        schedule=config.schedule,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        batch_tokens=config.batch_tokens,
        context_tokens=config.model.context_tokens,
        unique_tokens=config.unique_tokens,
        epochs=num_tokens / min(config.unique_tokens or num_tokens, num_tokens) if num_tokens else 0.0,
        num_threads=config.num_threads,
        dtype=config.dtype,
        device=", ".join(dict.fromkeys(device for device, _ in environments)),
        torch_version=", ".join(dict.fromkeys(version for _, version in environments)),
        state="complete" if divergence is None else DIVERGED,
        diverged_step=None if divergence is None else divergence.step,
        num_skipped=sum(len(body.get("skipped", [])) for body in [trunk, *bodies]),
        num_tokens=num_tokens,
        train_tokens=train_tokens,
        train_flops=config.model.flops_per_token * train_tokens,
        tokens_per_second=train_tokens / max(seconds, 1e-9),
        seconds=seconds,
        mfu=speed.mfu if speed else None,
        waiting_share=speed.waiting_share if speed else None,
        memory_bytes=speed.memory_bytes if speed else None,
        metrics_file=metrics_file,
        speed_file=speed_file,
        checkpoints=[
            Checkpoint(index, plan.last_step, plan.num_tokens, store.at(f"{plan.name}.safetensors"), body["weights_digest"])
            for index, plan, body in finished
        ],
    )


Walked = tuple[int, RungPlan, Body]
"""A branch: the place of its rung among those asked for, its plan, and what was kept of it."""


def _trunk_steps(trunk: Body, walked: Sequence[Walked]) -> int:
    """Steps of the trunk: up to the last branch, or to where it diverged."""
    return max([int(trunk.get("step", 0)), *(plan.branch_step for _, plan, _ in walked)])


def _write_curve(config: TrainConfig, store: CheckpointStore, trunk: Body, walked: Sequence[Walked]) -> str:
    tables = [curve.rows(store.run_id, config, body, index, plan) for index, plan, body in walked]
    return store.keep("metrics.parquet", lambda file: curve.write([curve.rows(store.run_id, config, trunk, None, None), *tables], file))


def _write_speed(config: TrainConfig, store: CheckpointStore, trunk: Body, walked: Sequence[Walked]) -> str:
    tables = [meter.rows(store.run_id, config, body, index) for index, _, body in walked]
    return store.keep("speed.parquet", lambda file: curve.write([meter.rows(store.run_id, config, trunk, None), *tables], file))


def _total(body: Body) -> float:
    return Seconds.of(body.get("seconds", 0.0)).total

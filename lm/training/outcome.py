"""The record of a run, from what its finished rungs say."""

from collections.abc import Sequence

from lm.training import curve, meter
from lm.training.checkpoint import Body, CheckpointStore
from lm.training.clock import Seconds
from lm.training.config import RungPlan, TrainConfig
from lm.training.result import Checkpoint, TrunkResult


def collect(config: TrainConfig, ladder_id: str, store: CheckpointStore, plans: Sequence[RungPlan]) -> TrunkResult:
    """Collect the run's record from what its finished rungs say, and write the curve."""
    bodies = [body for plan in plans if (body := store.finished(plan.name)) is not None]
    assert len(bodies) == len(plans), "every rung was just trained"
    longest = bodies[-1]
    metrics_file = _write_curve(config, store, plans, bodies)
    speed_file = _write_speed(config, store, bodies)
    train_tokens = (plans[-1].branch_step + sum(plan.last_step - plan.branch_step for plan in plans)) * config.batch_tokens
    seconds = max(_total(body["trunk"]) for body in bodies) + sum(_total(body) for body in bodies)
    speed = meter.mean([longest["trunk"], *bodies])
    environments = [environment.split("|") for body in bodies for environment in body["environments"]]
    return TrunkResult(
        run_id=store.run_id,
        ladder_id=ladder_id,
        model=config.model.name,
        num_params=config.model.num_params,
        num_params_non_embedding=config.model.num_params_non_embedding,
        seed=config.seed,
        config=config.to_json(),
        learning_rate=config.learning_rate,
        batch_tokens=config.batch_tokens,
        context_tokens=config.model.context_tokens,
        num_threads=config.num_threads,
        dtype=config.dtype,
        device=", ".join(dict.fromkeys(device for device, _ in environments)),
        torch_version=", ".join(dict.fromkeys(version for _, version in environments)),
        num_tokens=longest["step"] * config.batch_tokens,
        train_tokens=train_tokens,
        train_flops=config.model.flops_per_token * train_tokens,
        tokens_per_second=train_tokens / seconds,
        seconds=seconds,
        mfu=speed.mfu if speed else None,
        waiting_share=speed.waiting_share if speed else None,
        memory_bytes=speed.memory_bytes if speed else None,
        metrics_file=metrics_file,
        speed_file=speed_file,
        checkpoints=[
            Checkpoint(index, plan.last_step, plan.num_tokens, store.at(f"{plan.name}.safetensors"), body["weights_digest"])
            for index, (plan, body) in enumerate(zip(plans, bodies, strict=True))
        ],
    )


def _write_curve(config: TrainConfig, store: CheckpointStore, plans: Sequence[RungPlan], bodies: Sequence[Body]) -> str:
    trunk = curve.rows(store.run_id, config, bodies[-1]["trunk"], None, None)
    branches = [curve.rows(store.run_id, config, body, index, plan) for index, (plan, body) in enumerate(zip(plans, bodies, strict=True))]
    return store.keep("metrics.parquet", lambda file: curve.write([trunk, *branches], file))


def _write_speed(config: TrainConfig, store: CheckpointStore, bodies: Sequence[Body]) -> str:
    trunk = meter.rows(store.run_id, config, bodies[-1]["trunk"], None)
    branches = [meter.rows(store.run_id, config, body, index) for index, body in enumerate(bodies)]
    return store.keep("speed.parquet", lambda file: curve.write([trunk, *branches], file))


def _total(body: Body) -> float:
    return Seconds.of(body["seconds"]).total

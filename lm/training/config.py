"""What a run is: everything that decides its weights, as one frozen record that travels as JSON.

How far a run goes is no part of it: the same trunk serves a ladder that grows. So `run_id` digests this record, the ladder and
`TRAINER_VERSION`, and not the list of rungs. Neither does it hold torch's version or the device: whoever plans a run does not
know where it will train, and a trunk begun on one version may be continued on another; both change the last bits of the weights
and no more, and are kept beside the result (`TrunkResult.torch_version`, `device`), several if there were several. The same holds for
how a batch is cut into pieces and shared by processes (lm/training/machine.py).

What was added later stands in the JSON only where it is not the default, so the id of a run that uses none of it is what it was.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lm.models.config import ModelConfig
from lm.training.errors import ConfigError
from storage.digest import digest

TRAINER_VERSION = "2"
"""Raise it when a change of model, optimizer, schedule or data order changes what a run learns."""

Schedule = Literal["wsd", "cosine", "linear"]
OptimizerName = Literal["adamw", "muon"]
DType = Literal["float32", "bfloat16"]
ADDED_LATER = {"min_rate", "optimizer", "momentum", "unique_tokens", "mix", "spike_deviations", "max_skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training. Counts in tokens are rounded to whole steps. Raises ConfigError where fields do not fit together."""

    model: ModelConfig
    seed: int
    learning_rate: float
    """Peak rate."""
    embedding_rate: float = 8.0
    """Rate of the embedding and the head, as a multiple of learning_rate; see lm/training/defaults.py for what it buys."""
    batch_tokens: int
    """Tokens per step, a multiple of the model's context."""
    warmup_tokens: int
    """Tokens over which the rate rises from zero to its peak, in a straight line."""
    schedule: Schedule = "wsd"
    """wsd: one trunk at constant rate, a decayed branch per rung. cosine, linear: every rung is trained from the start."""
    decay_fraction: float = 0.2
    """Part of a rung's tokens over which wsd decays: gains end at 0.1 to 0.2. Source: arXiv:2405.18392."""
    beta1: float = 0.9
    beta2: float = 0.99
    """0.99 rather than 0.95 at small batches. Source: arXiv:2406.19146."""
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    """Decoupled, on the matrices of the blocks only; the embedding and the gains are left alone."""
    clip_norm: float = 1.0
    num_threads: int = 1
    """CPU threads. They decide the bits of a CPU run, so they are part of it."""
    dtype: DType = "float32"
    """bfloat16: matrices multiply in bfloat16 (autocast), weights and optimizer stay float32."""
    compile: bool = False
    """torch.compile; it costs tens of seconds and changes the bits."""
    mask_documents: bool = False
    """Hide earlier documents of a row from attention. Measured elsewhere as neutral; never mix both in one ladder."""
    log_every_steps: int = 10
    """Steps per row of the training curve."""
    min_rate: float = 0.0
    """Rate at the end of a rung, as a part of learning_rate."""
    optimizer: OptimizerName = "adamw"
    """muon: orthogonal updates for the matrices of the blocks, AdamW for the rest (lm/training/optimizers.py). Never fit both as one."""
    momentum: float = 0.95
    """muon only."""
    unique_tokens: int | None = None
    """Repeat the first so many tokens, in epochs; None: every token once."""
    mix: tuple[tuple[str, float], ...] = ()
    """Weights of sources, as pairs (host, domain or *, weight); empty: all documents in rank order. See lm/training/streams.py."""
    spike_deviations: float | None = None
    """Skip an update whose loss or gradient norm is so many robust deviations above the recent ones; None: never (lm/training/guard.py)."""
    max_skipped: int = 20
    """Give up when more than so many of the recent updates were skipped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mix", tuple(sorted((str(name), float(weight)) for name, weight in self.mix)))
        _require(self.batch_tokens % self.model.context_tokens == 0, "batch_tokens must be a multiple of context_tokens", self)
        _require(0 < self.learning_rate < 1, "learning_rate must lie between 0 and 1", self)
        _require(0 < self.decay_fraction <= 1, "decay_fraction must lie in (0, 1]", self)
        _require(self.embedding_rate > 0, "embedding_rate must be above 0", self)
        _require(self.warmup_tokens >= 0, "warmup_tokens must not be negative", self)
        _require(min(self.batch_tokens, self.num_threads, self.log_every_steps) > 0, "counts must be at least 1", self)
        _require(self.schedule in ("wsd", "cosine", "linear"), "schedule must be wsd, cosine or linear", self)
        _require(self.dtype in ("float32", "bfloat16"), "dtype must be float32 or bfloat16", self)
        _require(self.optimizer in ("adamw", "muon"), "optimizer must be adamw or muon", self)
        self._check_what_came_later()

    def _check_what_came_later(self) -> None:
        default = {field.name: field.default for field in fields(self)}
        _require(0 <= self.min_rate < 1, "min_rate is a part of learning_rate and must lie in [0, 1)", self)
        _require(0 <= self.momentum < 1, "momentum must lie in [0, 1)", self)
        least = self.model.context_tokens
        _require(self.unique_tokens is None or self.unique_tokens >= least, "unique_tokens must be at least context_tokens, or None", self)
        _require(self.spike_deviations is None or self.spike_deviations > 0, "spike_deviations must be above 0, or None", self)
        _require(self.max_skipped >= 0, "max_skipped must not be negative", self)
        _require(len(dict(self.mix)) == len(self.mix), "a mix names each source once", self)
        _require(all(0 < weight < float("inf") for _, weight in self.mix), "weights of a mix must be above 0", self)
        _require(self.schedule == "wsd" or self.decay_fraction == default["decay_fraction"], "decay_fraction belongs to schedule wsd", self)
        _require(self.optimizer == "muon" or self.momentum == default["momentum"], "momentum belongs to optimizer muon", self)
        _require(
            self.spike_deviations is not None or self.max_skipped == default["max_skipped"], "max_skipped needs spike_deviations", self
        )

    def to_json(self) -> str:
        """Canonical JSON: equal configurations give equal text."""
        later = {field.name: field.default for field in fields(self) if field.name in ADDED_LATER}
        values = {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}
        return json.dumps(values | {"model": self.model.to_dict()}, sort_keys=True, separators=(",", ":"))


def _require(holds: bool, rule: str, config: TrainConfig) -> None:
    if not holds:
        raise ConfigError(f"{rule}; got {asdict(config)}")


def from_json(text: str) -> TrainConfig:
    """The configuration that `to_json` wrote. Raises: ConfigError naming an unknown or missing field."""
    return from_dict(json.loads(text))


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """The configuration of plain values. Raises: ConfigError naming an unknown or missing field."""
    mix = values.get("mix", ())
    pairs = mix.items() if isinstance(mix, dict) else (tuple(pair) for pair in mix)
    try:
        return TrainConfig(**(values | {"model": ModelConfig(**values["model"]), "mix": tuple(pairs)}))
    except (TypeError, KeyError) as error:
        raise ConfigError(f"a training configuration has the fields of TrainConfig and ModelConfig; {error}") from error


def run_id(config: TrainConfig, ladder_id: str) -> str:
    """Name of the run: the same for every length of it and on every machine."""
    return digest("run", TRAINER_VERSION, ladder_id, config.to_json())


@dataclass(frozen=True, slots=True)
class RungPlan:
    """Steps of one rung: the trunk up to `branch_step`, then its own branch up to `last_step`."""

    num_tokens: int
    branch_step: int
    last_step: int

    @property
    def name(self) -> str:
        """Name of its files: the token count, for its place in the ladder may shift."""
        return f"rung-{self.num_tokens}"


def plan_rungs(config: TrainConfig, rungs_tokens: list[int]) -> list[RungPlan]:
    """Where each rung leaves the trunk, smallest first.

    Raises: ConfigError for rungs that are no whole number of steps, come twice, or branch off during the warm-up.
    """
    if not rungs_tokens or len(set(rungs_tokens)) != len(rungs_tokens):
        raise ConfigError(f"need at least one rung and each once, got {rungs_tokens}")
    if uneven := [tokens for tokens in rungs_tokens if tokens < config.batch_tokens or tokens % config.batch_tokens]:
        raise ConfigError(f"rungs must be multiples of batch_tokens = {config.batch_tokens}, got {uneven}; round them")
    plans = [_plan(config, tokens) for tokens in sorted(rungs_tokens)]
    warmup_steps = round(config.warmup_tokens / config.batch_tokens)
    if config.schedule == "wsd" and plans[0].branch_step < warmup_steps:
        raise ConfigError(
            f"the smallest rung, {plans[0].num_tokens} tokens, begins to decay at step {plans[0].branch_step}, before the warm-up ends "
            f"at step {warmup_steps}; use warmup_tokens of at most {plans[0].branch_step * config.batch_tokens}"
        )
    if config.schedule != "wsd" and plans[0].last_step <= warmup_steps:
        raise ConfigError(
            f"the smallest rung, {plans[0].num_tokens} tokens, ends at step {plans[0].last_step}, before the warm-up does at step "
            f"{warmup_steps}; use warmup_tokens below {plans[0].num_tokens}"
        )
    return plans


def _plan(config: TrainConfig, tokens: int) -> RungPlan:
    steps = tokens // config.batch_tokens
    decay_steps = max(1, round(config.decay_fraction * steps)) if config.schedule == "wsd" else steps
    return RungPlan(tokens, steps - decay_steps, steps)

"""Learning rate and batch size by the rules that are published, and by what was measured here; each with its source and its range.

N is parameters without embedding and head, D training tokens, and a batch is in tokens. Only the last rule was measured far below a
hundred million parameters: at N = 0.2 M and D = 1 M the first two ask for 0.019 and 0.021, a grid finds some 0.007. So a rule is
where a grid begins (`ladder tune`), not an answer, and `defaults` takes the last. What rules agree on is how the rate moves with the
size; that is used to carry a tuned rate to a neighbouring one (`rescale`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lm.models.config import ModelConfig
from lm.training.defaults import BATCH_TOKENS, REFERENCE_PARAMS, REFERENCE_RATE

RATE_EXPONENT = -1 / 3
"""How the best rate moves with N from one size to the next. Source: arXiv:2406.19146, as OLMo-core rounds it; see also defaults.py."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the peak rate and the batch of a run."""

    name: str
    source: str
    formula: str
    params: tuple[float, float]
    """Smallest and largest N it rests on."""
    tokens: tuple[float, float]
    """Smallest and largest D it rests on."""
    rate: Callable[[float, float], float]
    """(N, D) -> peak learning rate."""
    batch: Callable[[float, float], float]
    """(N, D) -> tokens per step."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a rule says about one run."""

    rule: str
    learning_rate: float
    batch_tokens: int
    inside: bool
    """Whether size and tokens lie where the rule was measured."""


def _olmo_rate(num_params: float, num_tokens: float) -> float:
    return 0.0047 * math.pow(num_params / 108e6, RATE_EXPONENT) / 2


def _olmo_batch(num_params: float, num_tokens: float) -> float:
    return 160 * 2048 * math.pow(num_params / 108e6, 2 / 3)


def _step_rate(num_params: float, num_tokens: float) -> float:
    return 1.79 * math.pow(num_params, -0.713) * math.pow(num_tokens, 0.307)


def _step_batch(num_params: float, num_tokens: float) -> float:
    return 0.58 * math.pow(num_tokens, 0.571)


def _own_rate(num_params: float, num_tokens: float) -> float:
    return REFERENCE_RATE * math.pow(num_params / REFERENCE_PARAMS, RATE_EXPONENT)


def _own_batch(num_params: float, num_tokens: float) -> float:
    return float(BATCH_TOKENS)


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "olmo",
            "OLMo-core's ladder after Porian et al., arXiv:2406.19146; halved for warmup-stable-decay",
            "rate 0.0047 (N / 108 M)^(-1/3) / 2, batch 160 x 2,048 (N / 108 M)^(2/3)",
            (5e6, 901e6),
            (1e8, 2e10),
            _olmo_rate,
            _olmo_batch,
        ),
        Rule(
            "step",
            "Step Law, arXiv:2503.04715; cosine to a fixed end",
            "rate 1.79 N^-0.713 D^0.307, batch 0.58 D^0.571",
            (6e7, 1e9),
            (2e9, 1e11),
            _step_rate,
            _step_batch,
        ),
        Rule(
            "demo",
            "measured here, lm/training/defaults.py",
            "rate 0.002 (N / 100,800)^(-1/3), batch 512",
            (1e5, 9e5),
            (1e5, 1e6),
            _own_rate,
            _own_batch,
        ),
    )
}


def suggest(rule: str, model: ModelConfig, num_tokens: float) -> Suggestion:
    """Rate and batch of a rule; the batch in whole rows of the model's context.

    Raises: KeyError naming the rules there are.
    """
    if rule not in RULES:
        raise KeyError(f"no rule {rule!r}; there are {sorted(RULES)}")
    found, num_params = RULES[rule], float(model.num_params_non_embedding)
    rows = max(1, round(found.batch(num_params, num_tokens) / model.context_tokens))
    inside = found.params[0] <= num_params <= found.params[1] and found.tokens[0] <= num_tokens <= found.tokens[1]
    return Suggestion(rule, float(f"{found.rate(num_params, num_tokens):.2g}"), rows * model.context_tokens, inside)


def rescale(learning_rate: float, tuned_params: float, num_params: float) -> float:
    """A rate tuned at one size, carried to another: rate (N / N_tuned)^(-1/3), at two significant digits."""
    if min(learning_rate, tuned_params, num_params) <= 0:
        raise ValueError(f"rates and sizes must be above 0, got {learning_rate}, {tuned_params}, {num_params}")
    return float(f"{learning_rate * math.pow(num_params / tuned_params, RATE_EXPONENT):.2g}")


def nearest(sizes: list[float], num_params: float) -> float | None:
    """Of tuned sizes the one nearest in the logarithm; the smaller of two that are as near. None if there is none."""
    return min(sizes, key=lambda size: (abs(math.log(size / num_params)), size), default=None)

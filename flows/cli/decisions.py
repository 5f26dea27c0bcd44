"""Decisions on the command line: `ladder law simulate`, `compare`, `allocate`, `repeat`, `next`.

`simulate` needs no lake. The others ask the runs of the newest ladder that was measured, and of those measured on the same validation set.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.running import CONSOLE, friendly_errors

if TYPE_CHECKING:
    from lm.law.decisions import Study
    from lm.law.decisions.conclusions import Conclusion, Ladder

LANGUAGE = typer.Option(help="en or zh.")
METRIC = typer.Option(help="Validation metric.")
SIZE = typer.Option(min=1, help="Model size in parameters; the largest measured if not said.")
TOKENS = typer.Option(min=1, help="Training tokens the decision is about; four times the most that was trained if not said.")


def register(group: typer.Typer) -> None:
    """Add the subcommands."""
    for name, command in COMMANDS.items():
        group.command(name=name)(friendly_errors(command))


def simulate(
    sizes: Annotated[str, typer.Option(help="Model sizes of the planned sweep, in parameters, with commas.")] = "1e6,4e6",
    first_tokens: Annotated[float, typer.Option(min=1, help="Tokens of the smallest rung.")] = 1e6,
    num_rungs: Annotated[int, typer.Option(min=3, help="Rungs, each twice the one before.")] = 6,
    num_seeds: Annotated[int, typer.Option(min=1, help="Seeds of each size.")] = 2,
    multiplier: Annotated[float, typer.Option(min=0.001, help="Tokens of recipe A that one token of recipe B is really worth.")] = 1.3,
    noise: Annotated[float, typer.Option(min=0, help="Scatter of the log loss between seeds.")] = 0.003,
    ahead: Annotated[float, typer.Option(min=1, help="The question is about so many times the largest rung.")] = 8.0,
    num_repeats: Annotated[int, typer.Option(min=2, help="Sweeps to simulate.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
) -> None:
    """Draw ladders from a known law: what a planned sweep could and could not show, before it is paid for."""
    from rich.progress import track

    from lm.law.decisions import SweepPlan, Target, study

    many = tuple(float(size) for size in sizes.split(","))
    tokens = tuple(first_tokens * 2.0**k for k in range(num_rungs))
    plan = SweepPlan(sizes=many, tokens=tokens, num_seeds=num_seeds, run_sd=noise, point_sd=noise / 2.0)
    target = Target(num_params=max(many) if len(many) > 1 else many[0], num_tokens=ahead * tokens[-1])
    steps = iter(track(range(num_repeats), "simulating sweeps", console=CONSOLE, transient=True))

    def advance(_done: int, _of: int) -> None:
        next(steps, None)

    found = study(plan, target, multiplier=multiplier, num_repeats=num_repeats, seed=seed, on_progress=advance)
    print("\n".join(_study_lines(found)))


def _study_lines(found: "Study") -> list[str]:
    from lm.law.decisions.words import number, percent

    plan = found.plan
    value, low, high = found.multipliers
    open_ones = ", ".join(f"{name} in {percent(share)}" for name, share in found.unidentified.items()) or "none"
    return [
        f"{found.num_repeats} simulated sweeps of two recipes: {len(plan.sizes)} sizes, {plan.num_seeds} seeds, "
        f"{number(plan.tokens[0])} to {number(plan.tokens[-1])} tokens; {number(plan.flops)} FLOPs per recipe.",
        f"Asked: {number(found.target.num_params)} parameters at {number(found.target.num_tokens)} tokens. "
        f"The loss there is {found.truth:.3f}.",
        f"The forecast misses it by {found.error:.2%} (median), with an interval of +-{found.half_width:.2%} that holds it in "
        f"{percent(found.coverage)} of the sweeps.",
        f"A token of B is worth {found.multiplier:g} of A. The sweep would say {number(value)} [{number(low)}, {number(high)}].",
        f"B is called better in {percent(found.settled_right)}, A wrongly in {percent(found.settled_wrong)}, "
        f"a tie in {percent(found.undecided)}; "
        f"the ranking at the largest rung alone is right in {percent(found.baseline_right)}.",
        f"Constants the sweep leaves open: {open_ones}.",
        "The truth here is a law of the form that is fitted; a real sweep can only do worse.",
    ]


def compare(
    a: Annotated[str | None, typer.Argument(help="Recipe; the one of the newest measured ladder if not said.")] = None,
    b: Annotated[str | None, typer.Argument(help="Recipe to compare with it; every other one if not said.")] = None,
    size: Annotated[float | None, SIZE] = None,
    tokens: Annotated[float | None, TOKENS] = None,
    flops: Annotated[float | None, typer.Option(min=1, help="Compare at a budget of compute instead, each at its best size.")] = None,
    metric: Annotated[str, METRIC] = "loss_nats_per_token",
    language: Annotated[str, LANGUAGE] = "en",
) -> None:
    """Recipe A or B at a target: probability, what a token of B is worth, and where they swap."""
    from lm.law.decisions import Target
    from lm.law.decisions import compare as compared
    from lm.law.decisions.conclusions import Conclusion

    ladders = _ladders(metric)
    first = a or ladders[0].recipe
    beliefs, size = _beliefs(ladders, size, joint=flops is not None)
    others = [b] if b else [name for name in beliefs if name != first]
    if not others:
        _say([_only(ladders, "recipes")], language)
        return
    target = Target(flops=flops) if flops else Target(num_params=size, num_tokens=tokens or _ahead(ladders[0]))
    made = [compared(beliefs, first, name, target) for name in others]
    _say([Conclusion("recipes", f"{one.a} | {one.b}", "answered", one.winner or "tie", {"comparison": one}) for one in made], language)


def allocate(
    flops: Annotated[float, typer.Argument(min=1, help="Budget of compute, 6 x parameters x tokens.")],
    inference_tokens: Annotated[float, typer.Option(min=0, help="Tokens the model will read later; the budget pays for them too.")] = 0.0,
    metric: Annotated[str, METRIC] = "loss_nats_per_token",
    language: Annotated[str, LANGUAGE] = "en",
) -> None:
    """Best model size and tokens for a budget, how well they are known, and what being off costs."""
    from lm.law.decisions import allocate as allocated
    from lm.law.decisions.conclusions import Conclusion

    ladders = _ladders(metric)
    if len(ladders[0].points.sizes()) < 2:
        _say([_only(ladders, "allocation")], language)
        return
    beliefs, _ = _beliefs(ladders, None, joint=True)
    found = allocated(beliefs[ladders[0].recipe], flops, inference_tokens=inference_tokens)
    _say([Conclusion("allocation", ladders[0].recipe, "answered", "", {"allocation": found})], language)
    print("\n".join(found.warnings))


def repeat(
    unique_tokens: Annotated[float | None, typer.Argument(min=1, help="Unique tokens; all that the recipe leaves if not said.")] = None,
    size: Annotated[float | None, SIZE] = None,
    target_loss: Annotated[float | None, typer.Option(min=0, help="Also say how many unique tokens this loss needs.")] = None,
    epochs: Annotated[float, typer.Option(min=1, help="How often each token may be seen on the way to the target loss.")] = 4.0,
    metric: Annotated[str, METRIC] = "loss_nats_per_token",
    language: Annotated[str, LANGUAGE] = "en",
) -> None:
    """Unique tokens against epochs: what repeating brings, where it stops, and how many tokens a target is short of."""
    from lm.law.decisions import missing
    from lm.law.decisions import repeat as repeated
    from lm.law.decisions.conclusions import Conclusion
    from lm.law.decisions.words import number, percent

    ladders = _ladders(metric)
    beliefs, at = _beliefs(ladders, size)
    belief, unique = beliefs[ladders[0].recipe], unique_tokens or ladders[0].available_tokens
    _say([Conclusion("repetition", ladders[0].recipe, "assumed", "", {"repetition": repeated(belief, at, unique)})], language)
    if target_loss is not None:
        found = missing(belief, at, target_loss, unique, epochs=epochs)
        needed, lacking = found.unique_tokens, found.missing_tokens
        print(
            f"A loss of {target_loss:g} needs {number(needed.value)} [{number(needed.low)}, {number(needed.high)}] unique tokens "
            f"at {epochs:g} epochs; missing: {number(lacking.value)} [{number(lacking.low)}, {number(lacking.high)}]. "
            f"It can be reached at this size with a probability of {percent(found.probability_possible)}."
        )


def next_run(
    budget: Annotated[float | None, typer.Argument(min=1, help="FLOPs to spend; four times the dearest run if not said.")] = None,
    size: Annotated[float | None, SIZE] = None,
    tokens: Annotated[float | None, TOKENS] = None,
    metric: Annotated[str, METRIC] = "loss_nats_per_token",
    language: Annotated[str, LANGUAGE] = "en",
) -> None:
    """Which runs narrow the forecast, or settle the closest decision, most for a budget."""
    from lm.law.decisions import Target
    from lm.law.decisions.conclusions import advise
    from lm.law.decisions.words import number, percent

    ladders = _ladders(metric)
    beliefs, at = _beliefs(ladders, size)
    found = advise(beliefs, Target(num_params=at, num_tokens=tokens or _ahead(ladders[0])), ladders, budget=budget)
    _say([found], language)
    for choice in found.answer["advice"].choices if found.status == "answered" else []:
        run = choice.candidate
        print(
            f"  {run.recipe}: {number(run.num_params)} parameters, {number(run.num_tokens)} tokens, {number(run.flops)} FLOPs -> "
            f"{percent(choice.width_left)} of the width left"
        )


def _ladders(metric: str) -> "list[Ladder]":
    from flows import decisions
    from flows.common import open_lake, require

    with open_lake(read_only=True) as lake:
        ladder_id = decisions.reported(lake)
        found = decisions.ladders(lake, ladder_id, metric)
    require(found[0].points.run_id, "validation metrics for a ladder", "ladder evaluate")
    return found


def _ahead(ladder: "Ladder") -> float:
    from lm.law.decisions.conclusions import AHEAD

    return AHEAD * float(ladder.points.num_tokens.max())


def _beliefs(ladders: "list[Ladder]", size: float | None, joint: bool = False) -> Any:
    """Joint draws for all recipes, and the size they are about."""
    from lm.law.decisions.conclusions import beliefs_of

    at = size or max(ladders[0].points.sizes())
    return beliefs_of(ladders, None if joint else at), at


def _only(ladders: "list[Ladder]", question: str) -> "Conclusion":
    from lm.law.decisions.conclusions import conclude

    return next(one for one in conclude(ladders[:1], num_bootstrap=50) if one.question == question)


def _say(found: "list[Conclusion]", language: str) -> None:
    from lm.law.decisions import words

    for one in found:
        print(words.sentence(one.row(), language).replace("**", ""))


COMMANDS: Mapping[str, Callable[..., None]] = {
    "simulate": simulate,
    "compare": compare,
    "allocate": allocate,
    "repeat": repeat,
    "next": next_run,
}

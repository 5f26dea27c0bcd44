"""decisions: what follows from the runs there are, as rows of the table `conclusions`; and what changed since the last time, and why.

Not a stage that is asked for by name: the report and the nightly refresh settle it. Each set of inputs has a slot of its own, so that
the rows of earlier days stay.
"""

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import ladder
from flows.common import LOG, Plan, Planned, StageResult, code_of, column, open_lake, settle
from flows.rates import MAIN_RUNS
from lm import law
from lm.law.decisions import conclusions, words
from storage.digest import digest
from storage.lake import Lake
from storage.ledger import Output, Work

RUNS = f"""
    SELECT m.run_id, r.ladder_id, r.num_params, m.num_tokens, r.seed, m.value, m.validation_id, m.rung, m.produced_by
    FROM metrics m JOIN runs r USING (run_id)
    WHERE m.name = $metric AND m.split = 'validation' AND m.domain = 'all' AND m.rung IS NOT NULL
      AND m.validation_id IN (SELECT validation_id FROM rungs WHERE ladder_id = $ladder_id) AND r.run_id IN ({MAIN_RUNS})
    ORDER BY r.ladder_id, r.num_params, m.num_tokens, r.seed, m.run_id
"""
LADDERS = """
    SELECT r.ladder_id, any_value(r.recipe) AS recipe, max(r.num_available_tokens) AS available, max(s.finished_at) AS laid_out_at
    FROM rungs r JOIN stages s ON s.key = r.produced_by GROUP BY r.ladder_id ORDER BY laid_out_at DESC, r.ladder_id
"""
MEASURED = """
    SELECT r.ladder_id FROM rungs r JOIN stages s ON s.key = r.produced_by
    WHERE r.ladder_id IN (SELECT ladder_id FROM runs JOIN metrics USING (run_id)) ORDER BY s.finished_at DESC, r.ladder_id LIMIT 1
"""
SIZES = """
    SELECT x.num_tokens FROM statistics x JOIN stages s ON s.key = x.produced_by
    WHERE x.recipe = ? AND x.num_tokens IS NOT NULL ORDER BY s.finished_at DESC LIMIT 2
"""
LAST_TWO = """
    SELECT s.key, s.code, s.inputs FROM stages s WHERE s.stage = 'decisions' AND starts_with(s.slot, ?) ORDER BY s.finished_at DESC LIMIT 2
"""
STORED = "SELECT question, subject, status, verdict, answer FROM conclusions WHERE produced_by = ? ORDER BY question, subject"


def reported(lake: Lake, ladder_id: str | None = None) -> str:
    """The ladder to speak of: the one named, else the newest with measured runs, else the newest."""
    return ladder_id or lake.value(MEASURED) or ladder.newest(lake)


def plan(lake: Lake, ladder_id: str, metric: str) -> Plan[tuple[str, str]]:
    """One unit: the conclusions over the runs, ladders and sizes of data as they are now."""
    runs = lake.query(RUNS, {"ladder_id": ladder_id, "metric": metric})
    inputs = {
        f"metrics/{run}/{rung}": key
        for run, rung, key in zip(*(column(runs, name) for name in ("run_id", "rung", "produced_by")), strict=True)
    }
    inputs |= {f"ladder/{found}": str(available) for found, _, available, _ in lake.rows(LADDERS)}
    inputs["data"] = str([tokens for (tokens,) in lake.rows(SIZES, [_recipe_of(lake, ladder_id)])])
    code = code_of("lm.law.decisions.conclusions")
    slot = f"{ladder_id[:16]}/{metric}/{digest(*(f'{k}={v}' for k, v in sorted({**inputs, **code}.items())))[:16]}"
    work = Work(stage="decisions", slot=slot, parameters={"metric": metric}, code=code, inputs=inputs)
    return Plan("decisions", [Planned(work, (ladder_id, metric))])


def settle_decisions(lake: Lake, ladder_id: str, metric: str) -> StageResult:
    """Draw the conclusions unless they are in the lake."""
    return settle(lake, plan(lake, ladder_id, metric), lambda todo: [decide(unit.work, *unit.unit) for unit in todo])


@task(name="decide", cache_policy=NO_CACHE, persist_result=False)
def decide(work: Work, ladder_id: str, metric: str) -> Output:
    """The conclusions as rows."""
    started = time.monotonic()
    with open_lake(read_only=True) as lake:
        found = conclusions.conclude(ladders(lake, ladder_id, metric), before_tokens=before_tokens(lake, ladder_id))
    rows = [{"ladder_id": ladder_id, "metric": metric, **conclusion.row()} for conclusion in found]
    for row in rows:
        LOG.info("  %s", words.sentence(row).replace("**", ""))
    return Output(work=work, tables={"conclusions": pa.Table.from_pylist(rows)}, seconds=time.monotonic() - started)


def ladders(lake: Lake, ladder_id: str, metric: str) -> list[conclusions.Ladder]:
    """The reported ladder first, then those with losses on the same validation set."""
    runs = lake.query(RUNS, {"ladder_id": ladder_id, "metric": metric})
    known = lake.rows(LADDERS)
    newest: dict[str, float] = {}
    for _, recipe, available, _ in known:
        newest.setdefault(recipe, float(available or 0.0))
    order = sorted(known, key=lambda row: row[0] != ladder_id)
    found: list[conclusions.Ladder] = []
    for one, recipe, _, _ in order:
        part = runs.filter(pc.equal(runs["ladder_id"], one))
        if part.num_rows or one == ladder_id:
            name = recipe if recipe not in {ladder.recipe for ladder in found} else f"{recipe} ({one[:6]})"
            found.append(conclusions.Ladder(one, name, law.gather(part), newest[recipe]))
    return found


def before_tokens(lake: Lake, ladder_id: str) -> float | None:
    """Tokens of the recipe before the last change of the data: when the ladder was laid out, or at the refresh before."""
    known = {row[0]: float(row[2] or 0.0) for row in lake.rows(LADDERS)}
    recipe = _recipe_of(lake, ladder_id)
    newest = next((float(row[2] or 0.0) for row in lake.rows(LADDERS) if row[1] == recipe), 0.0)
    if known.get(ladder_id, 0.0) and known[ladder_id] != newest:
        return known[ladder_id]
    sizes = [float(tokens) for (tokens,) in lake.rows(SIZES, [recipe])]
    return newest * sizes[1] / sizes[0] if len(sizes) == 2 and sizes[0] else None


def _recipe_of(lake: Lake, ladder_id: str) -> str:
    return str(lake.value("SELECT any_value(recipe) FROM rungs WHERE ladder_id = ?", [ladder_id]))


def note(lake: Lake, ladder_id: str, metric: str, language: str = "en") -> str:
    """Which conclusions changed since the last ones of this ladder, and why, as Markdown."""
    last = lake.rows(LAST_TWO, [f"{ladder_id[:16]}/{metric}/"])
    if not last:
        return words.no_conclusions(language)
    now = lake.query(STORED, [last[0][0]]).to_pylist()
    if len(last) == 1:
        return words.first_time(now, language)
    before = lake.query(STORED, [last[1][0]]).to_pylist()
    return words.changed(conclusions.changes(before, now), conclusions.causes(*_inputs(last)), now, language)


def _inputs(last: Sequence[Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What the earlier and the later of two sets of conclusions were drawn from."""
    (_, new_code, new_inputs), (_, old_code, old_inputs) = last
    return {"code": old_code, "inputs": old_inputs}, {"code": new_code, "inputs": new_inputs}

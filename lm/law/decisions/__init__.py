"""Decisions on top of laws: which recipe, how often to repeat, which size, which run next, and what a planned sweep could show.

    beliefs = believe({"raw": raw_law, "clean": clean_law}, num_params=4e6)
    one = compare(beliefs, "raw", "clean", Target(num_params=4e6, num_tokens=1e9))
    print(one.probability, one.multiplier, one.crossing)

Every answer is computed from the same joint draws (`lm/law/decisions/beliefs.py`), comes with an interval, and says when the data does
not carry it.
"""

from lm.law.decisions.allocation import Allocation, allocate
from lm.law.decisions.beliefs import Belief, Estimate, believe
from lm.law.decisions.comparison import SETTLED, Comparison, Target, compare
from lm.law.decisions.crawl_value import CrawlValue, crawl_value
from lm.law.decisions.next_run import Advice, Candidate, Choice, candidates_for, settle_comparison, sharpen
from lm.law.decisions.ranking import Place, Ranking, rank
from lm.law.decisions.repetition import Missing, Repetition, effective_tokens, missing, repeat
from lm.law.decisions.simulation import Study, SweepPlan, draw, study

__all__ = [
    "SETTLED",
    "Advice",
    "Allocation",
    "Belief",
    "Candidate",
    "Choice",
    "Comparison",
    "CrawlValue",
    "Estimate",
    "Missing",
    "Place",
    "Ranking",
    "Repetition",
    "Study",
    "SweepPlan",
    "Target",
    "allocate",
    "believe",
    "candidates_for",
    "compare",
    "crawl_value",
    "draw",
    "effective_tokens",
    "missing",
    "rank",
    "repeat",
    "settle_comparison",
    "sharpen",
    "study",
]

"""The draw for validation: order does not matter, larger budgets add, budgets hold."""

import random

import pytest

from lm.tokens.validation import draw

IDS = [f"{i:032x}" for i in range(1000)]
SIZES = [random.Random(i).randint(100, 2000) for i in range(1000)]


def test_a_draw_depends_on_neither_order_nor_growth_of_the_budget() -> None:
    small, large = draw(IDS, SIZES, key="k", max_bytes=40_000), draw(IDS, SIZES, key="k", max_bytes=80_000)
    assert large.ids[: len(small.ids)] == small.ids
    shuffled = draw(IDS[::-1], SIZES[::-1], key="k", max_bytes=40_000)
    assert (shuffled.ids, shuffled.validation_id) == (small.ids, small.validation_id)
    assert small.validation_id != large.validation_id
    assert 38_000 <= small.num_bytes <= 40_000
    assert draw(IDS, SIZES, key="other", max_bytes=40_000).ids != small.ids


def test_budgets_hold_and_long_documents_are_counted() -> None:
    assert len(draw(IDS, SIZES, key="k", max_documents=5).ids) == 5
    assert draw(IDS, SIZES, key="k", max_share=0.01).num_bytes <= 0.01 * sum(SIZES)
    short = draw(IDS, SIZES, key="k", max_bytes=20_000)
    assert short.num_too_long == sum(size > 1000 for size in SIZES)
    assert not [i for i in short.ids if SIZES[int(i, 16)] > 1000]


def test_nothing_to_draw_is_explained() -> None:
    with pytest.raises(ValueError, match="documents of at most"):
        draw(["a"], [100], key="k")
    with pytest.raises(ValueError, match="one size per distinct id"):
        draw(["a", "a"], [1, 2], key="k")

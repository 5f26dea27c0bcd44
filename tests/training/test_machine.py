"""How a run is carried out: what is refused, and what of it stands beside the device."""

from typing import Any

import pytest

from lm.training.errors import ConfigError
from lm.training.machine import HERE, Machine


@pytest.mark.parametrize("given", [{"compile_mode": "fast"}, {"head_piece_entries": 0}, {"micro_batch_tokens": 0}, {"parallel": "all"}])
def test_settings_out_of_range_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        Machine(**given)


def test_what_decides_the_last_bits_is_said() -> None:
    assert HERE.pieces(1) == ""
    said = Machine(compile_mode="reduce-overhead", head_piece_entries=4096, micro_batch_tokens=512).pieces(1)
    assert said == " in pieces of 512 tokens in mode reduce-overhead with a loss in pieces of 4096 logits"

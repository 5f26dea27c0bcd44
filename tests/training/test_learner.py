"""One step: in pieces or at once, of one process or shared."""

import dataclasses

import pytest
import torch
from training_data import CONFIG

from lm.tokens.selection import TokenData
from lm.training.errors import ConfigError
from lm.training.learner import Learner, num_pieces
from lm.training.machine import Machine
from lm.training.streams import open_stream
from lm.training.world import World


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_batch_in_pieces_is_the_batch_but_for_rounding(data: TokenData, optimizer: str) -> None:
    config = dataclasses.replace(CONFIG, optimizer=optimizer, mask_documents=True)  # type: ignore[arg-type]
    whole = Learner(config, open_stream(config, data, 640), "cpu")
    pieces = Learner(config, open_stream(config, data, 640), "cpu", machine=Machine(micro_batch_tokens=32))
    for _ in range(10):
        assert torch.allclose(whole.advance(0.01), pieces.advance(0.01), atol=1e-5)
    weights = pieces.weights()
    assert all(torch.allclose(tensor, weights[name], atol=1e-4) for name, tensor in whole.weights().items())
    assert not all(torch.equal(tensor, weights[name]) for name, tensor in whole.weights().items())


def test_pieces_must_divide_the_rows_of_a_process() -> None:
    assert [num_pieces(CONFIG, World(), tokens) for tokens in (None, 64, 32, 16, 1000)] == [1, 1, 2, 4, 1]
    assert num_pieces(CONFIG, World(1, 2), 16) == 2
    for tokens in (8, 48):
        with pytest.raises(ConfigError, match="rows of 16 tokens whose number divides the 4 of a process"):
            num_pieces(CONFIG, World(), tokens)
    with pytest.raises(ConfigError, match="the 4 rows of a batch must divide among 3 processes"):
        num_pieces(CONFIG, World(0, 3), None)

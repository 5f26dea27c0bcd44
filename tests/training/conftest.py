"""Token files shared by the tests of training."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find training_data.py beside them

from training_data import make_data

from lm.tokens.selection import TokenData


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TokenData:
    """Some 9,000 training tokens in two files."""
    return make_data(tmp_path_factory.mktemp("tokens"))

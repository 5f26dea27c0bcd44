"""Token files, a server of processes and one of S3, shared by the tests of training."""

import multiprocessing
import sys
import uuid
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # so that tests find training_data.py beside them

from training_data import make_data

from lm.tokens.selection import TokenData
from tests.storage import s3_server


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads that wait for each other in a busy machine cost minutes."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> TokenData:
    """Some 9,000 training tokens in two files."""
    return make_data(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def children() -> Iterator[ForkServerContext]:
    """Starts real processes in a tenth of a second, for the server that forks them has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lm.training.trainer", "pytest"])
    yield context
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A real S3 server on loopback."""
    pytest.importorskip("moto", reason="needs the package moto[server]")
    with s3_server.running() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a prefix in an empty bucket; the environment says how to reach it."""
    from pyarrow import fs

    name = f"runs-{uuid.uuid4().hex}"
    for variable, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(variable, value)
    store = fs.S3FileSystem(
        endpoint_override=endpoint.removeprefix("http://"), scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    store.create_dir(name)
    return f"s3://{name}/lake"

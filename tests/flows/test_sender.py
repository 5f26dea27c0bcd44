"""What is shown while work goes on: the newest of many values, in the background, whatever the receiver does."""

import logging
import threading

import pytest

from flows.artifacts import LiveArtifact
from flows.sender import Sender


def test_only_the_newest_waits_while_one_is_sent() -> None:
    seen: list[int] = []
    may_go = threading.Event()

    def send(value: int) -> None:
        may_go.wait(30)
        seen.append(value)

    sender = Sender(send)
    for value in range(10):
        sender.show(value)
    assert not sender.close(seconds=0.0)
    may_go.set()
    assert sender.close(seconds=30)
    assert seen[-1] == 9
    assert len(seen) <= 2


def test_a_receiver_that_refuses_is_said_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_value: int) -> None:
        raise ConnectionError("gone")

    sender = Sender(refuse)
    with caplog.at_level(logging.WARNING, logger="ladder"):
        for value in range(3):
            sender.show(value)
            assert sender.close(seconds=30)
    assert [record.getMessage() for record in caplog.records] == ["the web interface is behind: gone"]


def test_outside_of_a_flow_run_nothing_is_sent() -> None:
    artifact = LiveArtifact("progress", "work")
    artifact.show(50.0)
    assert artifact.close(seconds=0.0)

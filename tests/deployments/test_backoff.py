"""A service that keeps dying is started again with growing pauses."""

from deployments.supervisor import Backoff


def test_the_first_restart_is_at_once_and_further_ones_wait_longer_and_longer() -> None:
    backoff, now, pauses = Backoff(), 1000.0, []
    for _ in range(10):
        waited = 0.0
        while not backoff.ready(now + waited):
            waited += 0.5
        now += waited
        pauses.append(waited)
        backoff.started(now)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_steady_minute_is_forgiven() -> None:
    backoff = Backoff()
    for now in (0.0, 2.0, 5.0):
        backoff.started(now)
    assert not backoff.ready(6.0)
    assert backoff.ready(70.0)
    assert backoff.deaths == 0

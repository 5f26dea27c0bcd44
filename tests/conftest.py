"""Tests run on several processes, a file on one of them: what a file's tests share is then set up once, and slow files begin first.

The services of `tests/deployments` are shared by its files, so that folder stays together as if it were one file. Products of matrices
take one thread unless a test asks for more, for threads that wait for each other on busy cores take minutes instead of seconds.
"""

import os
from typing import Any

import pytest

TOGETHER = "tests/deployments"

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in every child


def group(nodeid: str) -> str:
    """What stays on one process: the file of a test, or the folder that is kept together."""
    return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.split("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put groups with slow tests first; the order inside a group stays."""
    slow = {group(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: group(item.nodeid) not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out groups in the order of the tests. xdist's own marks for groups do not work with this pytest."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Groups(config, log)

"""Tests run on several processes, a file on one of them: what a file's tests share is then set up once, and slow files begin first.

The services of `tests/deployments` are shared by its files, so that folder stays together as if it were one file. Products of matrices
take one thread unless a test asks for more, for threads that wait for each other on busy cores take minutes instead of seconds.
"""

import os
from pathlib import Path

import pytest

TOGETHER = "deployments"

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in every child


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of each test and put groups with slow tests first; the order inside a group stays."""
    groups = {item: _group(item.path) for item in items}
    slow = {group for item, group in groups.items() if item.get_closest_marker("slow")}
    items.sort(key=lambda item: groups[item] not in slow)
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))


def _group(path: Path) -> str:
    return TOGETHER if path.parent.name == TOGETHER else path.name

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.locks import LakeBusy, writer_lock
from storage.settings import LakeSettings

HOLD = """
import sys
from storage.locks import writer_lock
from storage.settings import LakeSettings
with writer_lock(LakeSettings(lake=sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_lock_is_exclusive_between_threads_and_free_afterwards(settings: LakeSettings) -> None:
    inside, most = [0], [0]

    def enter() -> None:
        with writer_lock(settings):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_held_lock_is_reported_and_dies_with_its_holder(settings: LakeSettings) -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    command = [sys.executable, "-c", HOLD, settings.lake]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LakeBusy, match=r"commit\.lock has been held by another process"), writer_lock(settings, wait_seconds=0.1):
            pass
        holder.kill()
    with writer_lock(settings, wait_seconds=30), pytest.raises(LakeBusy), writer_lock(settings, wait_seconds=0.1):
        pass
    with writer_lock(settings, wait_seconds=30):
        pass

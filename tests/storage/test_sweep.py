import os
from pathlib import Path
from types import ModuleType

from storage.files import list_files
from storage.lake import Lake
from storage.ledger import commit
from storage.staged import Staged
from storage.sweep import left_over, sweep


def test_only_what_nobody_refers_to_is_removed(lake: Lake, committer: ModuleType) -> None:
    first = commit(lake, [committer.output(lake, committer.work(1))])
    commit(lake, [committer.output(lake, committer.work(1, version=2), num_rows=3)])  # the first file lives on in its snapshot
    kept = list_files(lake.settings.data_path)
    killed = Staged(committer.output(lake, committer.work(2)))
    killed.publish(lake)  # and then the process died
    staged = committer.output(lake, committer.work(3)).files["tokens"][0]
    parts = [Path(lake.settings.data_path, name) for name in (".old.parquet.1.part", ".new.parquet.2.part")]
    for part in parts:
        part.write_bytes(b"half")
    os.utime(parts[0], (0, 0))
    assert set(left_over(lake)) == {killed.published["tokens"][0], str(parts[0])}
    assert sweep(lake) == sorted([killed.published["tokens"][0], str(parts[0])])
    assert set(list_files(lake.settings.data_path)) == {*kept, staged, str(parts[1])}
    with lake.at(first.snapshot) as then:
        assert then.rows("SELECT count(*), max(len(tokens)) FROM tokens") == [(5, 2)]
    assert sweep(lake) == []

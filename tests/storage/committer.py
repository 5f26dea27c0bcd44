"""A process that commits: run by the tests as `python committer.py LAKE FIRST COUNT [REPEATS]`.

It prints the number of each commit and, last, one JSON line. It commits the works FIRST .. FIRST+COUNT-1, one commit each, and after
every third tries again one of the first REPEATS works, which other processes commit at the same time.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from storage import files
from storage.arrow import arrow_type
from storage.lake import Lake
from storage.ledger import Output, Work, commit
from storage.records import Reject
from storage.schema import TABLES
from storage.settings import LakeSettings


def work(number: int, version: int = 1) -> Work:
    return Work(
        stage="tokens", slot=f"slot-{number}", parameters={"version": version}, code={"lm.tokens": "c"}, inputs={"shard": str(number)}
    )


def filled(name: str, num_rows: int, **given: Sequence[Any]) -> pa.Table:
    """Rows of a lake table: the given columns, and 0, '' or [] in all others."""
    columns: dict[str, Any] = {}
    for column, about in TABLES[name].columns.items():
        plain: Any = [] if about.type.endswith("[]") else "" if about.type == "VARCHAR" else 0
        columns[column] = pa.array(given.get(column, [plain] * num_rows), arrow_type(about.type))
    return pa.table(columns).drop_columns("produced_by")


def output(lake: Lake, of: Work, num_rows: int = 5) -> Output:
    """Three kinds of content: a registered file, rows and a reject."""
    ids, tokens = [f"{of.slot}-{row}" for row in range(num_rows)], [[row, row + 1] for row in range(num_rows)]
    rows = filled("tokens", num_rows, rank=range(num_rows), id=ids, host=["h"] * num_rows, tokens=tokens)
    path = files.join(lake.staging_dir(of), "tokens.parquet")
    files.write_parquet(path, rows, of.key, schema=TABLES["tokens"], options=lake.settings.s3fs_options())
    tokenizers = filled("tokenizers", 2, tokenizer_id=[of.slot, of.slot], kind=["trained", "gpt2"])
    rejects = [Reject("tokens", of.slot, "empty_text", 2, "here")]
    return Output(work=of, tables={"tokenizers": tokenizers}, files={"tokens": [path]}, rejects=rejects, seconds=0.1)


def main(lake_path: str, first: int, count: int, repeats: int) -> None:
    seconds, num_skipped, num_rows = [], 0, 0
    with Lake.open(LakeSettings(lake=lake_path)) as lake:
        for number in range(first, first + count):
            for of in [work(number)] + ([work(number % repeats)] if repeats and number % 3 == 0 else []):
                started = time.perf_counter()
                done = commit(lake, [output(lake, of)])
                seconds.append(time.perf_counter() - started)
                print(number, flush=True)
                num_skipped, num_rows = num_skipped + done.num_skipped, num_rows + done.num_rows
    print(json.dumps({"seconds": seconds, "num_skipped": num_skipped, "num_rows": num_rows}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)

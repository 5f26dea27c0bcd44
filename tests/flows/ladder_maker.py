"""A lake that holds ladders and nothing else: made-up documents, their tokens, a validation set, and rungs for one or two recipes.

What the stages before would take a minute for; trainings, tunings and sweeps need no more.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lm.tokens import tokenizer
from lm.tokens.encode import write_tokens
from lm.tokens.selection import write_selection
from storage import ledger
from storage.lake import Lake
from storage.ledger import Output, Work
from storage.outputs import output_dir, relative
from storage.schema import TABLES
from tests.flows import corpus_maker

RUNGS = (4096, 8192, 16384)


def write(lake: Lake, recipes: tuple[str, ...] = ("raw",), rungs: tuple[int, ...] = RUNGS) -> list[str]:
    """Fill an empty lake; the ids of its ladders, one per recipe. Each recipe after the first leaves out every third document."""
    texts = {f"{number:032x}": corpus_maker.text(number) for number in range(120)}
    info = tokenizer.train(list(texts.values())[:100], 300, Path(lake.settings.root) / "tokenizer.json")
    row = {"tokenizer_id": info.tokenizer_id, "kind": "trained", "vocab_size": info.vocab_size, "file": "tokenizer.json"}
    held = list(texts)[:10]
    _commit(lake, "tokenizer", {"tokenizers": _rows("tokenizers", [row])})
    _commit(lake, "validation", {"validation": _rows("validation", [{"validation_id": "v", "id": name} for name in held])})
    files = _tokens(lake, info.tokenizer_id, texts)
    table = pa.concat_tables(pq.read_table(file, columns=["rank", "id", "num_tokens", "host"]) for file in files)
    return [_ladder(lake, recipe, number, table, held, info.tokenizer_id, rungs) for number, recipe in enumerate(recipes)]


def write_rungs(lake: Lake, recipes: tuple[str, ...] = ("raw",), rungs: tuple[int, ...] = RUNGS) -> list[str]:
    """The same without documents and tokens: enough for plans and tables, not for training."""
    row = {"tokenizer_id": "t", "kind": "trained", "vocab_size": 300, "file": "tokenizer.json"}
    _commit(lake, "tokenizer", {"tokenizers": _rows("tokenizers", [row])})
    for recipe in recipes:
        _lay_out(lake, recipe, "t", "selection.parquet", rungs)
    return [f"ladder-{recipe}" for recipe in recipes]


def _lay_out(lake: Lake, recipe: str, tokenizer_id: str, file: str, rungs: tuple[int, ...]) -> None:
    same = {"ladder_id": f"ladder-{recipe}", "recipe": recipe, "tokenizer_id": tokenizer_id, "validation_id": "v"}
    same |= {"selection_file": file, "num_available_tokens": 10**6, "rank_limit": 0, "num_documents": 1}
    _commit(lake, f"ladder {recipe}", {"rungs": _rows("rungs", [{**same, "rung": i, "num_tokens": n} for i, n in enumerate(rungs)])})


def _tokens(lake: Lake, tokenizer_id: str, texts: dict[str, str]) -> list[str]:
    work = Work(stage="tokens", slot="made", parameters={}, code={}, inputs={})
    loaded = tokenizer.load(Path(lake.settings.root) / "tokenizer.json")
    batch = pa.RecordBatch.from_pydict({"id": list(texts), "host": ["made.example"] * len(texts), "text": list(texts.values())})
    with output_dir(lake, work) as out:
        made = write_tokens([batch], loaded, rank_key="k", tokenizer_id=tokenizer_id, produced_by=work.key, out_dir=out.path)
        ledger.commit(lake, [Output(work=work, files={"tokens": [out.publish(Path(file).name) for file in made.files]})])
    return lake.list_data_files("tokens", [work.key])


def _ladder(lake: Lake, recipe: str, number: int, table: pa.Table, held: list[str], tokenizer_id: str, rungs: tuple[int, ...]) -> str:
    ids = table["id"].to_pylist()
    splits = ["validation" if name in held else "train" for name in ids]
    chosen = [number == 0 or split == "validation" or int(name, 16) % 3 > 0 for name, split in zip(ids, splits, strict=True)]
    file = write_selection(
        table.append_column("split", pa.array(splits)).filter(pa.array(chosen)), Path(lake.settings.root) / f"{recipe}.parquet"
    )
    _lay_out(lake, recipe, tokenizer_id, relative(lake, file), rungs)
    return f"ladder-{recipe}"


def _commit(lake: Lake, slot: str, tables: dict[str, pa.Table]) -> None:
    ledger.commit(lake, [Output(work=Work(stage="ladder", slot=slot, parameters={}, code={}, inputs={}), tables=tables)])


def _rows(name: str, rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([{column: row.get(column) for column in TABLES[name].columns if column != "produced_by"} for row in rows])

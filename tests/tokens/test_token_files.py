"""Token files, selections and the loader: rank order, nested prefixes, clear errors."""

import hashlib
import random
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lm.tokens import encode, loader, tokenizer
from lm.tokens.loader import MissingTokensError, TokenStream
from lm.tokens.rank import rank
from lm.tokens.selection import TokenData, read_selection, write_selection
from lm.tokens.tokenizer import Tokenizer
from storage.schema.training import TOKENS

WORDS = ["data", "model", "token", "loss", "crawl", "page", "rung", "ladder", "law", "scale", "数据", "模型", "naïve"]


def make_documents(num: int, seed: int = 0) -> dict[str, tuple[str, str]]:
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) + f" {i}" for i in range(num)]
    return {hashlib.blake2b(text.encode(), digest_size=16).hexdigest(): (f"host{i % 3}.org", text) for i, text in enumerate(texts)}


def batches(documents: dict[str, tuple[str, str]], size: int = 7) -> list[pa.RecordBatch]:
    ids = list(documents)
    parts = [ids[i : i + size] for i in range(0, len(ids), size)]
    return [
        pa.record_batch({"id": part, "host": [documents[i][0] for i in part], "text": [documents[i][1] for i in part]}) for part in parts
    ]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    tokenizer.train([text for _, text in make_documents(50).values()], 300, path)
    return tokenizer.load(path)


def write(documents: dict[str, tuple[str, str]], tokens: Tokenizer, out: Path, **options: int) -> encode.TokensResult:
    return encode.write_tokens(
        batches(documents), tokens, rank_key="key", tokenizer_id=tokens.tokenizer_id, produced_by="stage", out_dir=out, **options
    )


def select(files: list[str], path: Path, validation: int = 0) -> TokenData:
    table = pa.concat_tables([pq.read_table(file, columns=["rank", "id", "num_tokens", "host"]) for file in files])
    splits = ["validation"] * validation + ["train"] * (len(table) - validation)
    return TokenData(files=tuple(files), selection=write_selection(table.append_column("split", pa.array(splits)), path))


def test_files_have_the_columns_of_the_table_and_duckdb_reads_them(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(40)
    result = write(documents, tokens, tmp_path)
    assert pq.read_schema(result.files[0]).names == ["produced_by", *[name for name in TOKENS.columns if name != "produced_by"]]
    columns = ", ".join(f"CAST({name} AS {column.type}) = {name}" for name, column in TOKENS.columns.items())
    with duckdb.connect() as connection:
        rows = connection.sql(f"SELECT {columns} FROM read_parquet('{result.files[0]}')").fetchall()
        types = connection.sql(f"DESCRIBE SELECT * FROM read_parquet('{result.files[0]}')").fetchall()
    assert len(rows) == 40
    assert all(all(row) for row in rows)
    assert {name: kind for name, kind, *_ in types} == {"produced_by": "VARCHAR"} | {n: c.type for n, c in TOKENS.columns.items()}


def test_rows_stand_in_rank_order_and_decode_to_their_text(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(60)
    result = write(documents, tokens, tmp_path)
    rows = pq.read_table(result.files[0]).to_pylist()
    assert [row["rank"] for row in rows] == sorted(int(value) for value in rank(documents, "key"))
    for row in rows:
        host, text = documents[row["id"]]
        assert (row["host"], row["num_bytes"], row["num_tokens"]) == (host, len(text.encode()), len(row["tokens"]))
        assert row["tokens"][-1] == tokens.end_of_document
        assert tokens.decode(row["tokens"][:-1]) == text
    assert (result.num_documents, result.num_tokens) == (60, sum(row["num_tokens"] for row in rows))


def test_long_documents_become_parts_that_add_up(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(30)
    result = write(documents, tokens, tmp_path, part_tokens=20)
    rows = pq.read_table(result.files[0]).to_pylist()
    assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)
    assert max(row["num_tokens"] for row in rows) == 20
    assert result.num_documents == 30 < len(rows)
    for document_id, (_, text) in documents.items():
        parts = sorted((row for row in rows if row["id"] == document_id), key=lambda row: row["part"])
        assert [row["part"] for row in parts] == list(range(len(parts)))
        assert sum(row["num_bytes"] for row in parts) == len(text.encode())
        assert all(row["tokens"][-1] == tokens.end_of_document for row in parts)
        assert tokens.decode([token for row in parts for token in row["tokens"][:-1]]) == text
        assert parts[0]["rank"] == int(rank([document_id], "key")[0])
    data = select(result.files, tmp_path / "s.parquet")
    assert loader.load(data, "train").ids == [row["id"] for row in rows]


def test_same_documents_give_the_same_bytes_whatever_the_threads(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(60)
    one, two = write(documents, tokens, tmp_path / "a"), write(documents, tokens, tmp_path / "b", num_threads=3)
    assert Path(one.files[0]).read_bytes() == Path(two.files[0]).read_bytes()


def test_files_are_ranges_of_ranks_whatever_the_order_of_documents(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(150)
    shuffled = dict(random.Random(1).sample(sorted(documents.items()), len(documents)))
    one, two = (
        write(given, tokens, tmp_path / str(i), tokens_per_file=500, part_tokens=20) for i, given in enumerate((documents, shuffled))
    )
    assert len(one.files) == -(-one.num_tokens // 500) > 5
    ranks = [pq.read_table(file, columns=["rank"])["rank"].to_pylist() for file in one.files]
    assert [value for found in ranks for value in found] == sorted(value for found in ranks for value in found)
    assert [Path(a).read_bytes() == Path(b).read_bytes() for a, b in zip(one.files, two.files, strict=True)] == [True] * len(one.files)
    alone = write(documents, tokens, tmp_path / "alone", part_tokens=20)
    whole = pa.concat_tables([pq.read_table(file) for file in one.files])
    assert whole.equals(pq.read_table(alone.files[0]))
    assert not list(tmp_path.rglob("pile-*"))


def test_a_later_shorter_attempt_leaves_no_file_of_the_earlier(tokens: Tokenizer, tmp_path: Path) -> None:
    assert len(write(make_documents(60), tokens, tmp_path, tokens_per_file=300).files) > 2
    result = write(make_documents(10), tokens, tmp_path)
    assert [str(path) for path in tmp_path.iterdir()] == result.files


def test_wrong_tokenizer_and_repeated_documents_are_refused(tokens: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer_id must be"):
        encode.write_tokens([], tokens, rank_key="k", tokenizer_id="other", produced_by="s", out_dir=tmp_path)
    with pytest.raises(ValueError, match="came twice"):
        encode.write_tokens(
            batches(make_documents(5)) * 2, tokens, rank_key="k", tokenizer_id=tokens.tokenizer_id, produced_by="s", out_dir=tmp_path
        )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="came twice"):
        encode.write_tokens(
            [*batches(make_documents(40)), *batches(make_documents(2))],
            tokens,
            rank_key="k",
            tokenizer_id=tokens.tokenizer_id,
            produced_by="s",
            out_dir=tmp_path,
            tokens_per_file=300,
        )
    assert not list(tmp_path.glob("pile-*"))


def test_stream_is_the_same_however_files_are_cut(tokens: Tokenizer, tmp_path: Path) -> None:
    documents = make_documents(120)
    whole = select(write(documents, tokens, tmp_path / "one").files, tmp_path / "s1.parquet")
    parts = select(write(documents, tokens, tmp_path / "many", tokens_per_file=500).files, tmp_path / "s2.parquet")
    assert len(parts.files) > 3
    a, b = loader.load(whole, "train"), loader.load(parts, "train")
    assert (a.tokens == b.tokens).all()
    assert a.ids == b.ids
    by_hand = sorted(documents, key=lambda i: int(rank([i], "key")[0]))
    assert a.ids == by_hand
    assert tokens.decode(a.tokens[a.offsets[3] : a.offsets[4]]) == documents[by_hand[3]][1]
    assert a.num_bytes.tolist() == [len(documents[i][1].encode()) for i in by_hand]


def test_rungs_are_prefixes_and_batches_depend_on_the_step_alone(tokens: Tokenizer, tmp_path: Path) -> None:
    data = select(write(make_documents(200), tokens, tmp_path, tokens_per_file=700).files, tmp_path / "s.parquet", validation=20)
    small, large = TokenStream.open(data, 512), TokenStream.open(data, 2048)
    everything = loader.load(data, "train").tokens.astype(np.int64)
    for step in (3, 0, 7):
        inputs, targets = small.batch(step, 64, 16)
        assert inputs.shape == targets.shape == (4, 16)
        assert all((x == y).all() for x, y in zip((inputs, targets), large.batch(step, 64, 16), strict=True))
        assert (targets.ravel() == everything[step * 64 : step * 64 + 64]).all()
    assert small.batch(0, 64, 16)[0][0, 0] == tokens.end_of_document
    seen = np.concatenate([small.batch(step, 64, 16)[1].ravel() for step in range(8)])
    assert (seen == everything[:512]).all()
    with pytest.raises(MissingTokensError, match="beyond the 512"):
        small.batch(8, 64, 16)


def test_validation_and_training_are_apart(tokens: Tokenizer, tmp_path: Path) -> None:
    data = select(write(make_documents(50), tokens, tmp_path).files, tmp_path / "s.parquet", validation=10)
    held, train = loader.load(data, "validation"), loader.load(data, "train")
    assert (len(held.ids), len(train.ids)) == (10, 40)
    assert not set(held.ids) & set(train.ids)


def test_missing_data_names_what_makes_it(tokens: Tokenizer, tmp_path: Path) -> None:
    files = write(make_documents(60), tokens, tmp_path / "t", tokens_per_file=500).files
    data = select(files, tmp_path / "s.parquet")
    with pytest.raises(FileNotFoundError, match="ladder rungs"):
        loader.load(TokenData(files=tuple(files), selection=str(tmp_path / "none.parquet")), "train")
    with pytest.raises(FileNotFoundError, match="ladder tokens"):
        loader.load(TokenData(files=("none.parquet",), selection=data.selection), "train")
    with pytest.raises(MissingTokensError, match=r'of 60 documents, such as .* run "ladder tokens" again'):
        loader.load(TokenData(files=tuple(files[1:]), selection=data.selection), "train")
    with pytest.raises(MissingTokensError, match="no document with split 'validation'"):
        loader.load(data, "validation")
    have = len(loader.load(data, "train").tokens)
    with pytest.raises(MissingTokensError, match=f"the selection has {have}: {10_000 - have} are missing"):
        TokenStream.open(data, 10_000)
    with pytest.raises(MemoryError, match="above the limit of 100"):
        loader.load(data, "train", max_bytes=100)


def test_selections_are_checked(tmp_path: Path) -> None:
    row = {"rank": 1, "id": "a", "num_tokens": 3, "split": "train", "host": "h"}
    for rows, says in (
        ([row, row], "stands twice"),
        ([row, row | {"rank": 2, "split": "validation"}], "in both splits"),
        ([row | {"split": "test"}], "split must be"),
        ([row | {"split": "validation"}], "needs training"),
    ):
        with pytest.raises(ValueError, match=says):
            write_selection(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    pq.write_table(pa.Table.from_pylist([row | {"rank": 2}, row | {"id": "b"}]), tmp_path / "s.parquet")
    with pytest.raises(ValueError, match="rank order"):
        read_selection(tmp_path / "s.parquet", "train")

"""Policies for duplicates and contamination as a recipe states them, over a small lake with one document per case."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lm.corpus import recipes
from lm.corpus.near_duplicates.keys import canonical_url, content_keys
from lm.corpus.recipes import RecipeError
from storage.schema import TABLES

USED = (
    *("documents", "signals", "signatures", "near_duplicates", "document_keys", "duplicate_removals"),
    *("contamination", "text_variants", "recipe_counts", "source_losses", "scores"),
)


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name in USED:
            columns = ", ".join(f'"{column}" {spec.type}' for column, spec in TABLES[name].columns.items())
            connection.execute(f"CREATE TABLE {name} ({columns})")
        yield connection


def add(lake: duckdb.DuckDBPyConnection, table: str, **row: Any) -> None:
    marks = ", ".join("?" * len(row))
    lake.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def document(
    lake: duckdb.DuckDBPyConnection, id: str, *, crawl: str = "c1", host: str = "h1", words: int = 1, url: str = "", content: int = 0
) -> None:
    add(lake, "documents", id=id, crawl=crawl, host=host, num_bytes=100)
    add(lake, "signals", id=id, num_words=words)
    add(lake, "signatures", id=id, method="fineweb", bands=[1])
    add(lake, "document_keys", id=id, crawl=crawl, host=host, canonical_url=url or id, content_key=content or ord(id[0]))


def pair(lake: duckdb.DuckDBPyConnection, a: str, b: str, jaccard: float = 0.9) -> None:
    add(lake, "near_duplicates", id_a=a, id_b=b, jaccard=jaccard, containment=1.0, method="fineweb")


def judge(lake: duckdb.DuckDBPyConnection, folder: Path, dedup: str, top: str = "") -> dict[str, str | None]:
    """Reason by id; counts and losses must agree with it."""
    file = folder / "r.toml"
    file.write_text(f'name = "r"\n{top}\n[dedup]\n{dedup}\n')
    recipe = recipes.load(file)
    pairs, keyed = (lake.execute(sql).to_arrow_table() for sql in (recipe.pairs_sql(), recipe.keyed_sql()))
    lake.register("removed", recipe.removals(pairs, keyed))
    lake.execute("DELETE FROM duplicate_removals")
    lake.execute("INSERT INTO duplicate_removals BY NAME SELECT * FROM removed")
    lake.unregister("removed")
    rows = lake.execute(recipe.view_sql()).fetchall()
    counts = {row[1]: row[3] for row in lake.execute(recipe.counts_sql()).fetchall()}
    assert sum(num for rule, num in counts.items() if rule != "all") == counts["all"]
    assert counts["kept"] == sum(row[1] for row in rows)
    return {row[0]: row[2] for row in sorted(rows)}


NEAR = 'method = "near"\npreset = "fineweb"\nthreshold = 0.8\n'
GONE = "near_duplicate"


def test_in_a_scope_only_its_own_documents_are_compared(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    document(lake, "a", crawl="c1", host="h1")
    document(lake, "b", crawl="c2", host="h1")
    document(lake, "c", crawl="c1", host="h2")
    pair(lake, "a", "b")
    pair(lake, "a", "c")
    assert judge(lake, tmp_path, NEAR) == {"a": None, "b": GONE, "c": GONE}
    assert judge(lake, tmp_path, NEAR + 'scope = "crawl"') == {"a": None, "b": None, "c": GONE}
    assert judge(lake, tmp_path, NEAR + 'scope = "host"') == {"a": None, "b": GONE, "c": None}


def test_best_most_and_duplicated(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for id, words in {"a": 5, "b": 9, "c": 7, "d": 1}.items():
        document(lake, id, words=words)
    for a, b in ("ab", "ac", "bc"):
        pair(lake, a, b)
    assert judge(lake, tmp_path, NEAR) == {"a": None, "b": GONE, "c": GONE, "d": None}
    assert judge(lake, tmp_path, NEAR + 'keep = "best"\nsignal = "num_words"') == {"a": GONE, "b": None, "c": GONE, "d": None}
    for id, value in {"b": 0.1, "c": 0.9}.items():  # a has none, and comes last
        add(lake, "scores", id=id, name="liked", value=value)
    assert judge(lake, tmp_path, NEAR + 'keep = "best"\nsignal = "score.liked"') == {"a": GONE, "b": GONE, "c": None, "d": None}
    assert judge(lake, tmp_path, NEAR + "max_kept = 2") == {"a": None, "b": None, "c": GONE, "d": None}
    assert judge(lake, tmp_path, NEAR + 'keep = "duplicated"') == {"a": None, "b": None, "c": None, "d": "not_duplicated"}


def test_one_address_or_one_content_is_one_document(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    document(lake, "a", url="u", words=1)
    document(lake, "b", url="u", content=7, words=2)
    document(lake, "c", content=7, crawl="c2")
    assert judge(lake, tmp_path, 'also = ["url"]') == {"a": None, "b": GONE, "c": None}
    assert judge(lake, tmp_path, 'also = ["content"]') == {"a": None, "b": None, "c": GONE}
    assert judge(lake, tmp_path, 'also = ["url", "content"]') == {"a": None, "b": GONE, "c": None}
    assert judge(lake, tmp_path, 'also = ["url"]\nkeep = "best"\nsignal = "num_words"') == {"a": GONE, "b": None, "c": None}
    assert judge(lake, tmp_path, 'also = ["content"]\nscope = "crawl"') == dict.fromkeys("abc")


def test_documents_of_one_key_go_for_whichever_of_them_stays(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for id in "abcd":
        document(lake, id, url="u", content=7)
    document(lake, "0")
    also = 'also = ["url", "content"]\n'
    assert judge(lake, tmp_path, NEAR + also) == {"0": None, "a": None, "b": GONE, "c": GONE, "d": GONE}
    assert judge(lake, tmp_path, also + "max_kept = 2") == {"0": None, "a": None, "b": None, "c": GONE, "d": GONE}
    pair(lake, "0", "a")
    assert judge(lake, tmp_path, NEAR + also) == {"0": None, "a": GONE, "b": None, "c": GONE, "d": GONE}
    kept = {row[1]: row[2] for row in lake.execute("SELECT recipe, id, kept_id FROM duplicate_removals").fetchall()}
    assert kept == {"a": "0", "c": "b", "d": "b"}
    assert judge(lake, tmp_path, also + 'keep = "duplicated"') == {"0": "not_duplicated", "a": None, "b": None, "c": None, "d": None}


def test_a_key_holds_in_its_own_crawl(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for id, crawl in {"a": "c1", "b": "c2", "c": "c2"}.items():
        document(lake, id, url="u", crawl=crawl)
    assert judge(lake, tmp_path, 'also = ["url"]\nscope = "crawl"') == {"a": None, "b": None, "c": GONE}


def test_a_source_that_loses_too_much_raises_an_alarm(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for number in range(40):
        document(lake, f"{number:02}", crawl="mirror" if number < 30 else "own", host="h")
    for number in range(1, 30):
        pair(lake, "00", f"{number:02}")
    judge(lake, tmp_path, NEAR)
    losses = lake.execute(recipes.load(tmp_path / "r.toml").losses_sql()).fetchall()
    assert [(row[1], row[2], row[3], row[4], row[6]) for row in losses] == [
        ("crawl", "mirror", 30, 29, True),
        ("crawl", "own", 10, 0, False),
        ("host", "h", 40, 29, True),
    ]
    judge(lake, tmp_path, NEAR + "alarm_share = 0.99")
    assert not any(row[6] for row in lake.execute(recipes.load(tmp_path / "r.toml").losses_sql()).fetchall())
    judge(lake, tmp_path, NEAR + 'keep = "duplicated"\nalarm_share = 0.1')  # a negative control loses on purpose
    losses = lake.execute(recipes.load(tmp_path / "r.toml").losses_sql()).fetchall()
    assert [(row[2], row[4], row[6]) for row in losses] == [("mirror", 0, False), ("own", 10, False), ("h", 10, False)]


def test_contaminated_documents_go_only_where_the_recipe_says_so(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for id in "abc":
        document(lake, id)
    for id, contaminated in {"a": True, "b": False, "c": True}.items():
        add(lake, "contamination", id=id, evaluation_set="s", item="i", part="question", contaminated=contaminated)
    add(lake, "text_variants", id="a", variant="decontaminated", text="rest", num_removed_bytes=1)
    add(lake, "text_variants", id="c", variant="decontaminated", text="", num_removed_bytes=1)
    assert judge(lake, tmp_path, "") == dict.fromkeys("abc")
    assert judge(lake, tmp_path, "", 'contamination = "flag"') == dict.fromkeys("abc")
    assert judge(lake, tmp_path, "", 'contamination = "document"') == {"a": "contaminated", "b": None, "c": "contaminated"}
    assert judge(lake, tmp_path, "", 'contamination = "paragraph"') == {"a": None, "b": None, "c": "contaminated"}


@pytest.mark.parametrize(
    ("dedup", "top", "message"),
    [
        ('keep = "last"', "", "keep of dedup must be one of first, best, duplicated"),
        ('keep = "best"', "", "signal of dedup must be one of"),
        ("max_kept = 0", "", "max_kept of dedup must be a whole number of at least 1, not 0"),
        ('also = ["title"]', "", "also of dedup must be one of url, content"),
        ('scope = "planet"', "", "scope of dedup must be one of all, crawl, host"),
        ("", 'contamination = "all"', "contamination must be one of"),
    ],
)
def test_a_policy_that_does_not_exist_is_refused(
    lake: duckdb.DuckDBPyConnection, tmp_path: Path, dedup: str, top: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        judge(lake, tmp_path, dedup, top)


@pytest.mark.parametrize(
    "url",
    [
        "http://www.Example.org:80/a%7eb/?b=2&a=1&utm_source=x#top",
        "https://example.org/a~b?a=1&b=2",
        "https://example.org/a~b/index.html?fbclid=9&b=2&a=1",
    ],
)
def test_addresses_that_are_served_alike_have_one_form(url: str) -> None:
    assert canonical_url(url) == "example.org/a~b?a=1&b=2"
    assert canonical_url(f"http://{canonical_url(url)}") == canonical_url(url)


def test_addresses_that_differ_stay_apart() -> None:
    urls = [
        "http://a.org/x",
        "http://a.org/X",
        "http://a.org/x?p=1",
        "http://a.org/x?p=2",
        "http://a.org:8080/x",
        "http://b.org/x",
        "file:///x",
        "http://[",
        "",
    ]
    assert len({canonical_url(url) for url in urls}) == len(urls)


def test_content_is_the_same_up_to_dress() -> None:
    same = ["Hello, World 12!", "hello\nworld\t12", "  HELLO  wörld １２"]
    other = ["hello world 1 2", "world hello 12", "hello world", "helloworld 12"]
    keys = content_keys(pa.array([*same, *other])).tolist()
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 5

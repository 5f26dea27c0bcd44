"""Questions about recipes, scores of the user's own and edited texts, through the command line on a small lake."""

import json
import re
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pyarrow.parquet as pq
import pytest

from tests.flows.conftest import Ladder

pytestmark = pytest.mark.slow

PROSE = (
    "News of the harbour\n"
    "The {n} harbour was quiet in the morning, and {n} boats lay at the quay. "
    "Nobody spoke of the storm that had passed. Mail {n}@example.net."
)
HOSTILE = "<script>alert({n})</script> buy cheap things now click here {n} </pre> foo"
LETTERS = str.maketrans("0123456789", "abcdefghij")
"""Numbers as words: digits count for nothing when texts are compared."""
RECIPE = """
name = "own"
edits = ["open_c4_lines", "mask_pii"]

[[rules]]
name = "unlike"
signal = "score.prose"
op = ">="
threshold = 0.5

[[rules]]
name = "bad_words"
signal = "score.bad_words"
op = "<="
threshold = 0
missing = "pass"
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, api_url: str) -> Ladder:
    """A lake with a classifier, a word list and a recipe that uses both."""
    folder = tmp_path_factory.mktemp("recipe_commands")
    for name, form in (("good", PROSE), ("bad", HOSTILE)):
        rows = ({"text": form.format(n=name + str(n).translate(LETTERS)), "url": f"https://{name}.example/{n}"} for n in range(400))
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.toml").write_text(RECIPE)
    (folder / "en").write_text("foo\n")
    ladder = Ladder(folder / "lake", api_url)
    ladder("crawl", f"jsonl:{folder}/*.jsonl")
    ladder("documents")
    ladder("quality", "train", f"jsonl:{folder}/good.jsonl", f"jsonl:{folder}/bad.jsonl", "--name", "prose")
    ladder("signals", "--bad-words", str(folder / "en"))
    ladder("recipe", "--recipes", "raw", "--recipes", str(folder / "own.toml"))
    return ladder


def rows(ladder: Ladder, query: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(ladder("sql", query, "--format", "json"))
    return found


def own(ladder: Ladder) -> str:
    return str(ladder.lake.parent / "own.toml")


def test_scores_decide_and_edits_are_stored(filled: Ladder) -> None:
    assert rows(filled, "SELECT num_positives, num_negatives FROM quality_models") == [{"num_positives": 400, "num_negatives": 400}]
    kept = rows(filled, "SELECT count(*) AS n, bool_and(url LIKE '%good%') AS good FROM recipe_own JOIN documents USING (id) WHERE kept")
    assert kept == [{"n": 400, "good": True}]
    edited = rows(filled, "SELECT count(*) AS n FROM text_variants WHERE text LIKE '%Mail name@example.org.'")
    assert edited == [{"n": 400}]
    assert rows(filled, "SELECT DISTINCT kind FROM pii_spans") == [{"kind": "email"}]
    assert "nothing to do" in filled("signals", "--bad-words", str(filled.lake.parent / "en"))


def test_a_ladder_trains_on_what_the_edits_leave(filled: Ladder) -> None:
    laid = ("rungs", "--recipe", "own", "--first-rung-tokens", "8192", "--num-rungs", "2")
    tokens = ("tokens", "--vocab-size", "300", "--validation-bytes", "5000", "--validation-recipe", "raw")
    filled(*tokens)
    filled(*laid)
    selection = filled.lake / str(rows(filled, "SELECT any_value(selection_file) AS file FROM rungs")[0]["file"])
    chosen = pq.read_table(selection).to_pylist()
    trained = [row["id"] for row in chosen if row["split"] == "train"]
    assert trained
    assert {id.partition("~")[2] for id in trained} == {"open_c4_lines+mask_pii"}
    assert not {id.partition("~")[0] for id in trained} & {row["id"] for row in chosen if row["split"] == "validation"}
    as_stored = """
        SELECT count(*) AS n, bool_and(e.num_bytes = strlen(v.text)) AS masked, bool_and(e.rank = t.rank) AS same_place FROM tokens e
        JOIN text_variants v ON e.id = v.id || '~' || variant JOIN tokens t ON t.id = v.id
    """
    assert rows(filled, as_stored) == [{"n": 400, "masked": True, "same_place": True}]
    assert "nothing to do" in filled(*tokens)
    filled("recipe", "--recipes", "raw")  # another recipe alone leaves the variants of this one
    assert rows(filled, as_stored) == [{"n": 400, "masked": True, "same_place": True}]


def test_a_ladder_starts_from_texts_without_boilerplate(filled: Ladder) -> None:
    path = filled.lake.parent / "bare.toml"
    path.write_text('name = "bare"\ntexts = "without_boilerplate"\nedits = ["mask_pii"]\n')
    filled("recipe", "--recipes", "raw", "--recipes", str(path))
    filled("tokens", "--vocab-size", "300", "--validation-bytes", "5000", "--validation-recipe", "raw")
    filled("rungs", "--recipe", "bare", "--first-rung-tokens", "8192", "--num-rungs", "2")
    laid = "SELECT any_value(selection_file) AS file FROM rungs JOIN stages ON produced_by = key WHERE inputs LIKE '%recipe/bare%'"
    chosen = pq.read_table(filled.lake / str(rows(filled, laid)[0]["file"])).to_pylist()
    edited = [row["id"] for row in chosen if "~" in row["id"]]
    assert {id.partition("~")[2] for id in edited} == {"without_boilerplate+mask_pii"}
    texts = rows(filled, "SELECT text FROM text_variants WHERE variant = 'without_boilerplate+mask_pii' ORDER BY id")
    assert len(texts) == 400
    assert all("News" not in str(row["text"]) and str(row["text"]).endswith("Mail name@example.org.") for row in texts)
    removed = len("News of the harbour\n")
    assert f"text: without_boilerplate, {removed} bytes" in filled("recipe", "explain", boilerplate_only(filled), "https://good.example/3")
    both = r"both\s+│ 800 +│ (\d+),(\d+) / "
    assert re.search(both, filled("recipe", "compare", "raw", str(path)))
    assert "nothing to do" in filled("recipe", "--recipes", "raw", "--recipes", str(path))


def boilerplate_only(ladder: Ladder) -> str:
    path = ladder.lake.parent / "plain.toml"
    path.write_text('name = "plain"\ntexts = "without_boilerplate"\n')
    return str(path)


def test_a_document_is_explained_and_recipes_are_compared(filled: Ladder) -> None:
    said = filled("recipe", "explain", own(filled), "https://bad.example/3")
    assert re.search(r"fails\s+unlike", said)
    assert "goes: unlike" in said
    assert "Give a whole id" in filled.fails("recipe", "explain", own(filled), "nothing")
    assert re.search(r"too_short +\d+ +>= 200 +normalized_chars", filled("recipe", "explain", "slimpajama", "https://bad.example/3"))
    said = filled("recipe", "compare", "raw", own(filled))
    assert re.search(r"only raw\s+│ 400 ", said)
    assert re.search(r"raw\s+│ unlike\s+│ 400 ", said)


def test_the_page_is_served_on_loopback_only_and_cannot_act(filled: Ladder, tmp_path: Path) -> None:
    filled("recipe", "browse", own(filled), "--output", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;alert(" in page
    assert "<script" not in page
    assert page.count("kept, and closest to the limit") == 2  # of two rules
    assert re.search(r"score.prose: 0\.[5-9]\d*, needs &gt;= 0.5", page)
    process = filled.start("recipe", "browse", own(filled))
    try:
        assert process.stdout
        url = next(line.strip() for line in process.stdout if line.startswith("http"))
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url) as answer:
            assert answer.read().decode() == page
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}))
    finally:
        process.kill()
        process.communicate()

"""One document per rule and per reason, judged by DuckDB on tables as the lake has them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lm.corpus import minhash, recipes, signals
from lm.corpus.near_duplicates.finding import find
from lm.corpus.recipes import Recipe, RecipeError, Rule
from lm.corpus.verdicts import explain
from storage.schema import TABLES
from storage.signals import SIGNALS

USED = (
    *("documents", "signals", "signatures", "near_duplicates", "duplicate_removals", "recipe_counts", "scores"),
    *("text_variants", "variant_signals"),
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


def add_document(
    lake: duckdb.DuckDBPyConnection, id: str, values: dict[str, float], *, language: str | None = "en", score: float = 0.9
) -> None:
    add(lake, "documents", id=id, host="b.org", num_bytes=100, language=language, language_score=score)
    add(lake, "signals", id=id, **{name: value for name, value in values.items() if name in SIGNALS})
    for name, value in values.items():
        if name not in SIGNALS:
            add(lake, "scores", id=id, name=name.removeprefix(recipes.SCORE), value=value)
    for preset in minhash.PRESETS:
        add(lake, "signatures", id=id, method=preset, bands=[1])


def add_pair(lake: duckdb.DuckDBPyConnection, a: str, b: str, jaccard: float, method: str = "ladder") -> None:
    add(lake, "near_duplicates", id_a=a, id_b=b, jaccard=jaccard, containment=1.0, method=method)


def store_removals(lake: duckdb.DuckDBPyConnection, recipe: Recipe) -> pa.Table:
    pairs, keyed = (lake.execute(sql).to_arrow_table() for sql in (recipe.pairs_sql(), recipe.keyed_sql()))
    removed = recipe.removals(pairs, keyed)
    lake.register("found", removed)
    lake.execute("INSERT INTO duplicate_removals BY NAME SELECT * FROM found")
    lake.unregister("found")
    return removed


def judged(lake: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[str, str | None]:
    store_removals(lake, recipe)
    rows = lake.execute(recipe.view_sql()).fetchall()
    assert all(kept == (reason is None) for _, kept, reason, _, _ in rows)
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[2] for row in rows}


def counts(lake: duckdb.DuckDBPyConnection, recipe: Recipe) -> dict[str, dict[str, Any]]:
    table = lake.execute(recipe.counts_sql()).to_arrow_table()
    assert table.column_names == [name for name in TABLES["recipe_counts"].columns if name != "produced_by"]
    return {str(row["rule"]): row for row in table.to_pylist()}


def passing(recipe: Recipe) -> dict[str, float]:
    """Values on the very edge of every rule, from the inside."""
    values: dict[str, float] = {}
    for rule in recipe.rules:
        edge = rule.threshold + {">": 1, "<": -1}.get(rule.op, 0)
        values[rule.signal] = max(values.get(rule.signal, edge), edge) if rule.op in (">=", ">") else values.get(rule.signal, edge)
    return values


def failing(rule: Rule) -> float:
    step = 1 if rule.score or SIGNALS[rule.signal].type == "INTEGER" else 1e-9
    return rule.threshold - step if rule.op in (">=", ">") else rule.threshold + step


@pytest.mark.parametrize("name", recipes.names())
def test_each_rule_removes_the_document_that_just_fails_it(lake: duckdb.DuckDBPyConnection, name: str) -> None:
    recipe = recipes.load(name)
    language = recipe.language.codes[0] if recipe.language else "en"
    add_document(lake, "fine", passing(recipe), language=language)
    for rule in recipe.rules:
        add_document(lake, f"fails {rule.name}", passing(recipe) | {rule.signal: failing(rule)}, language=language)
    expected: dict[str, str | None] = {f"fails {rule.name}": rule.name for rule in recipe.rules}
    assert judged(lake, recipe) == {"fine": None} | expected
    for rule in recipe.rules:
        row = counts(lake, recipe)[rule.name]
        assert (row["num_failing"], row["num_removed"], row["num_removed_bytes"], row["alarm"]) == (1, 1, 100, None)


def test_the_first_failing_rule_is_the_reason_and_all_failures_are_counted(lake: duckdb.DuckDBPyConnection) -> None:
    recipe = recipes.load("gopher")
    add_document(lake, "a", passing(recipe) | {"mean_word_length": 11, "top_2_gram_char_fraction": 0.5})
    add_document(lake, "b", passing(recipe) | {"top_2_gram_char_fraction": 0.5})
    assert judged(lake, recipe) == {"a": "words_too_long", "b": "top_2_gram"}
    found = counts(lake, recipe)
    assert (found["top_2_gram"]["num_failing"], found["top_2_gram"]["num_removed"]) == (2, 1)
    assert found["top_2_gram"]["alarm"] == "removes_everything"
    assert found["too_few_words"]["alarm"] == "removes_nothing"
    assert found["kept"]["alarm"] == "removes_everything"


def test_what_was_not_measured_or_compared_does_not_pass_unseen(lake: duckdb.DuckDBPyConnection) -> None:
    recipe = recipes.load("gopher")
    add(lake, "documents", id="unmeasured", host="b.org", num_bytes=7)
    add_document(lake, "unwritten", {name: value for name, value in passing(recipe).items() if name != "num_distinct_stop_words"})
    add_document(lake, "compared", passing(recipe))
    add(lake, "documents", id="uncompared", host="b.org", num_bytes=5)
    add(lake, "signals", id="uncompared", **passing(recipe))
    add(lake, "signatures", id="uncompared", method="slimpajama", bands=[1])
    assert judged(lake, recipe) == {
        "unmeasured": "not_measured",
        "unwritten": "too_few_stop_words",
        "compared": None,
        "uncompared": "not_compared",
    }
    found = counts(lake, recipe)
    assert (found["not_measured"]["num_removed"], found["not_measured"]["num_removed_bytes"]) == (1, 7)
    assert (found["not_compared"]["num_failing"], found["not_compared"]["num_removed"]) == (2, 1)


def test_a_score_nobody_measured_fails_or_passes_as_the_rule_says(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rules = "".join(f'[[rules]]\nname = "{n}"\nsignal = "score.{n}"\nop = ">="\nthreshold = 0.5\nmissing = "{m}"\n' for n, m in RULES)
    (tmp_path / "own.toml").write_text(f'name = "own"\nedits = ["c4_lines", "mask_pii"]\n{rules}')
    recipe = recipes.load(tmp_path / "own.toml")
    assert recipe.variant == "c4_lines+mask_pii"
    for id, scores in (("good", {"likes": 0.9}), ("bad", {"likes": 0.1}), ("unmeasured", {})):
        add_document(lake, id, {"num_words": 1} | {f"score.{name}": value for name, value in scores.items()})
    assert judged(lake, recipe) == {"good": None, "bad": "likes", "unmeasured": "likes"}
    assert {name: row["alarm"] for name, row in counts(lake, recipe).items() if row["alarm"]} == {"other": "not_measured"}
    verdicts = {row["id"]: explain(recipe, row) for row in lake.execute(recipe.values_sql()).to_arrow_table().to_pylist()}
    assert [(v.rule, v.value, v.holds) for v in verdicts["bad"]] == [("other", None, True), ("likes", 0.1, False)]


RULES = [("other", "pass"), ("likes", "fail")]


def test_language_comes_first_and_can_be_changed(lake: duckdb.DuckDBPyConnection) -> None:
    fineweb = recipes.load("fineweb")
    add_document(lake, "en", passing(fineweb))
    add_document(lake, "unsure", passing(fineweb), score=0.65)
    add_document(lake, "zh", passing(fineweb), language="zh")
    add_document(lake, "none", passing(fineweb) | {"num_non_symbol_words": 1}, language=None)
    assert judged(lake, fineweb) == {"en": None, "unsure": "language", "zh": "language", "none": "language"}
    both = judged(lake, recipes.load("fineweb", languages=["en", "zh"]))
    assert both == {"en": None, "unsure": "language", "zh": None, "none": "language"}
    anything = recipes.load("fineweb", languages=[])
    assert judged(lake, anything)["none"] == "too_few_words"
    assert "language" not in counts(lake, anything)
    assert len({fineweb.digest, anything.digest, recipes.load("fineweb", languages=["zh"]).digest}) == 3


def test_equal_texts_are_one_row_and_count_as_exact_duplicates(lake: duckdb.DuckDBPyConnection) -> None:
    raw = recipes.load("raw")
    for host in ("c.org", "a.org", "b.org"):
        add(lake, "documents", id="same", host=host, num_bytes=10)
    add(lake, "documents", id="other", host="z.org", num_bytes=1)
    assert sorted(lake.execute(raw.view_sql()).fetchall()) == [("other", True, None, 1, "z.org"), ("same", True, None, 10, "a.org")]
    found = counts(lake, raw)
    assert list(found) == ["all", "exact_duplicate", "kept"]
    assert [(row["num_removed"], row["num_removed_bytes"]) for row in found.values()] == [(4, 31), (2, 20), (2, 11)]


def test_near_duplicates_go_among_documents_that_pass_the_rules(lake: duckdb.DuckDBPyConnection) -> None:
    recipe = recipes.load("gopher")
    for id in "bcdef":
        add_document(lake, id, passing(recipe))
    add_document(lake, "a", passing(recipe) | {"num_non_symbol_words": 3})
    add_pair(lake, "a", "b", 0.99)
    add_pair(lake, "b", "c", 0.8)
    add_pair(lake, "c", "d", 0.95)
    add_pair(lake, "d", "e", 0.79)
    add_pair(lake, "e", "f", 0.99, method="slimpajama")
    assert judged(lake, recipe) == {"a": "too_few_words", "b": None, "c": "near_duplicate", "d": None, "e": None, "f": None}
    rows = lake.execute("SELECT recipe, id, kept_id, jaccard FROM duplicate_removals").fetchall()
    assert rows == [("gopher", "c", "b", pytest.approx(0.8))]
    found = counts(lake, recipe)["near_duplicate"]
    assert (found["num_failing"], found["num_removed"], found["num_removed_bytes"], found["alarm"]) == (1, 1, 100, None)


def test_a_threshold_that_no_float_holds_still_takes_its_own_value(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    file = tmp_path / "tenths.toml"
    file.write_text('name = "tenths"\n[dedup]\nmethod = "near"\npreset = "ladder"\nthreshold = 0.7\n')
    recipe = recipes.load(file)
    for id in "ab":
        add_document(lake, id, {})
    add_pair(lake, "a", "b", 0.7)
    assert judged(lake, recipe) == {"a": None, "b": "near_duplicate"}


def test_counts_add_up(lake: duckdb.DuckDBPyConnection) -> None:
    recipe = recipes.load("fineweb")
    for id in "abcd":
        add_document(lake, id, passing(recipe))
    add_document(lake, "a", passing(recipe))
    lake.execute("DELETE FROM signals WHERE rowid = (SELECT max(rowid) FROM signals)")
    add_document(lake, "x", passing(recipe) | {"open_c4_num_sentences": 4})
    add_pair(lake, "a", "b", 0.9)
    assert judged(lake, recipe)["x"] == "too_few_sentences"
    found = counts(lake, recipe)
    parts = [row for rule, row in found.items() if rule != "all"]
    for column in ("num_removed", "num_removed_bytes"):
        assert sum(row[column] for row in parts) == found["all"][column]
    assert {rule: row["num_removed"] for rule, row in found.items() if row["num_removed"]} == {
        "all": 6,
        "exact_duplicate": 1,
        "too_few_sentences": 1,
        "near_duplicate": 1,
        "kept": 3,
    }


def test_an_empty_lake_raises_no_alarm(lake: duckdb.DuckDBPyConnection) -> None:
    for name in recipes.names():
        assert judged(lake, recipes.load(name)) == {}
        assert {(row["num_removed"], row["num_removed_bytes"], row["alarm"]) for row in counts(lake, recipes.load(name)).values()} == {
            (0, 0, None)
        }


def test_real_text_goes_through_measured_compared_and_judged(lake: duckdb.DuckDBPyConnection) -> None:
    sentence = "The people of the village have to walk with care and that is what they do {} times every year. "
    story = "".join(sentence.format(word) for word in ("two", "six", "nine", "ten", "many", "few"))
    paragraphs = [
        f"On day {day} {what} came to the river, and nobody had seen it there before.\n" for day, what in enumerate(("a fox", "an old man"))
    ]
    bodies = (story + "".join(paragraphs), story + paragraphs[0], "Buy now!\n" * 40, "今天天气不错。" * 10)
    texts = {f"{number:032}": text for number, text in enumerate(bodies, start=1)}
    ids, column = pa.array(list(texts)), pa.array(list(texts.values()))
    for id, text in texts.items():
        add(
            lake,
            "documents",
            id=id,
            host="a.org",
            num_bytes=len(text.encode()),
            language="zh" if id[-1] == "4" else "en",
            language_score=0.99,
        )
    loaded = {
        "signals": signals.compute(column).add_column(0, "id", ids),
        "signatures": minhash.band_table(ids, column, "ladder"),
        "near_duplicates": find(ids, column, "ladder"),
    }
    for name, table in loaded.items():
        lake.register("loaded", table)
        lake.execute(f"INSERT INTO {name} BY NAME SELECT * FROM loaded")
        lake.unregister("loaded")
    reasons = judged(lake, recipes.load("gopher"))
    assert reasons[f"{3:032}"] is not None
    assert reasons[f"{4:032}"] is not None
    assert judged(lake, recipes.load("raw")) == dict.fromkeys(texts)


def test_definitions_are_stable_and_tell_recipes_apart() -> None:
    loaded = [recipes.load(name) for name in recipes.names()]
    assert [recipe.name for recipe in loaded] == recipes.names() == ["c4", "dclm", "fineweb", "gopher", "raw", "slimpajama", "zh"]
    assert len({recipe.digest for recipe in loaded}) == 7
    assert recipes.load("raw").digest == recipes.load("raw").digest
    assert [recipe.presets for recipe in loaded] == [(), *[("ladder",)] * 3, (), ("slimpajama",), ("ladder",)]
    for recipe in loaded:
        assert recipe.doc
        assert all(rule.source and rule.group for rule in recipe.rules)


RULE = '[[rules]]\nname = "r"\nsignal = "num_words"\nop = ">="\nthreshold = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ('name = "A-b"', "must be lower-case letters, digits and _"),
        ('name = "a"\ncolour = 1', "unknown fields colour; known are name"),
        ('name = "a"\n' + RULE.replace("num_words", "num_wrods"), "signal of rule r must be one of num_words, .*not 'num_wrods'"),
        ('name = "a"\n' + RULE.replace(">=", "=="), "op of rule r must be one of >=, >, <=, <, not '=='"),
        ('name = "a"\n' + RULE.replace("= 1", '= "1"'), "threshold of rule r must be a number, not '1'"),
        ('name = "a"\n' + RULE.replace("= 1", "= nan"), "must be a number"),
        ('name = "a"\n' + RULE.replace('"r"', '"kept"'), "a rule cannot be named kept"),
        ('name = "a"\n' + RULE.replace('"r"', '"r\'; DROP TABLE x"'), "rule name must be lower-case"),
        ('name = "a"\n' + RULE + RULE, "rule names must differ, but r come twice"),
        ('name = "a"\n[language]\ncodes = []', "codes of language must be a list with at least one"),
        ('name = "a"\n[language]\ncodes = ["e\'"]', "language code must be lower-case"),
        ('name = "a"\n[dedup]\nmethod = "fuzzy"', "method of dedup must be one of none, exact, near, not 'fuzzy'"),
        ('name = "a"\n[dedup]\nmethod = "near"\npreset = "marin"', "preset of dedup must be one of ladder, fineweb, slimpajama"),
        ('name = "a"\n[dedup]\nmethod = "near"\npreset = "fineweb"\nthreshold = 0.3', "must lie from 0.5, below which no pair is stored"),
    ],
)
def test_a_bad_recipe_says_what_must_hold(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message):
        recipes.load(file)


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match="'c5' does not exist; there are c4, dclm, fineweb, gopher, raw, slimpajama, zh, or a path"):
        recipes.load("c5")
    with pytest.raises(RecipeError, match=r"recipe file nowhere\.toml does not exist"):
        recipes.load("nowhere.toml")
    with pytest.raises(ValueError, match="a table name must be letters"):
        recipes.load("gopher").view_sql("x; DROP TABLE y")


def test_with_texts_by_an_engine_rules_look_at_these_texts(lake: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for id, num_words in {"longer": 10, "shorter": 60, "foreign": 60, "same": 60, "gone": 60}.items():
        add_document(lake, id, {"num_words": num_words})
    for id, num_words, language in (("longer", 70, "en"), ("shorter", 20, "en"), ("foreign", 60, "de")):
        add(lake, "text_variants", id=id, variant="wet", text="its text", num_removed_bytes=1)
        add(lake, "variant_signals", id=id, variant="wet", language=language, language_score=0.9, num_words=num_words)
    add(lake, "text_variants", id="gone", variant="wet", text="", num_removed_bytes=100)
    add(lake, "text_variants", id="same", variant="resiliparse", text="another engine's", num_removed_bytes=1)
    add(lake, "variant_signals", id="same", variant="resiliparse", num_words=1)
    add_pair(lake, "longer", "same", 0.9)
    own = tmp_path / "own.toml"
    rest = """[language]\ncodes = ["en"]\n[[rules]]\nname = "long"\nsignal = "num_words"\nop = ">="\nthreshold = 50
[dedup]\nmethod = "near"\npreset = "ladder"\nthreshold = 0.8\nkeep = "best"\nsignal = "num_words"\n"""
    own.write_text(f'name = "own"\n{rest}')
    of_documents = recipes.load(own)
    own.write_text(f'name = "by_wet"\ntexts = "wet"\n{rest}')
    of_engine = recipes.load(own)

    assert judged(lake, of_documents) == {"longer": "long", "shorter": None, "foreign": None, "same": None, "gone": None}
    found = judged(lake, of_engine)
    assert found == {"longer": None, "shorter": "long", "foreign": "language", "same": "near_duplicate", "gone": "nothing_left"}
    failing = {rule: row["num_failing"] for rule, row in counts(lake, of_engine).items()}
    assert (failing["nothing_left"], failing["language"], failing["long"]) == (1, 1, 1)
    assert lake.execute(of_engine.pairs_sql()).fetchall() == [("longer", "same", pytest.approx(0.9), 70.0, 60.0)]
    [row] = lake.execute(f"SELECT * FROM ({of_engine.values_sql()}) WHERE id = 'foreign'").to_arrow_table().to_pylist()
    assert [verdict.value for verdict in explain(of_engine, row)] == ["de 0.90", 60]

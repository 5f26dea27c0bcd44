"""The parts of our own extractor: markup, blocks, features, forests, text, and what is said of a page; and the score it is judged by."""

import gzip
import html
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from lm.corpus.extraction import engines, gold, kernels, labels
from lm.corpus.extraction.boosting import Boosting, grow, predict
from lm.corpus.extraction.features import FEATURES, NUM_FEATURES
from lm.corpus.extraction.forest import DENSE_MODEL_FILE, MODEL_FILE, load_model, score
from lm.corpus.extraction.kernels import main_text, read, read_page, text_of_blocks
from lm.corpus.extraction.markup import MAX_DEPTH
from lm.corpus.extraction.metadata import Metadata, parse_date, read_metadata
from lm.corpus.extraction.training import LABELS_FILE, as_json, labelled_example, site_of
from lm.corpus.extraction.vocabulary import HINT_BITS, TAGS, vocabulary

ENGLISH = "The ladder stood against the wall, and everybody who came by climbed it, looked over the wall, and went away."
CHINESE = "梯子靠在墙上，路过的人都爬上去，往墙那边看一看，然后离开。没有人知道梯子是谁放在那里的，也没有人问。"


def all_text(markup: str) -> str:
    """The text of every block."""
    page = np.frombuffer(markup.encode(), np.uint8)
    found = read_page(page)
    return html.unescape(text_of_blocks(page, found, np.ones(len(found.blocks.first), np.bool_)).decode())


def elements(markup: str) -> list[tuple[str, str]]:
    """Tag of each element and of its parent."""
    names = {number: name for name, number in TAGS.items()}
    found = read_page(np.frombuffer(markup.encode(), np.uint8)).markup
    return [(names[found.tags[at]], names[found.tags[found.parents[at]]]) for at in range(1, len(found.tags))]


def metadata(markup: str) -> Metadata:
    payload = markup.encode("utf-8", "replace")
    return read_metadata(payload, read(np.frombuffer(payload, np.uint8)).facts)


def hints(markup: str) -> set[str]:
    bits = int(read_page(np.frombuffer(markup.encode(), np.uint8)).markup.hints[1])
    return {name for name, bit in HINT_BITS.items() if bits >> bit & 1}


@pytest.mark.parametrize(
    ("markup", "tree"),
    [
        ("<p>a<p>b<div>c</div>", [("p", ""), ("p", ""), ("div", "")]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", [("ul", ""), ("li", "ul"), ("li", "ul"), ("ul", "li"), ("li", "ul"), ("li", "ul")]),
        ("<dl><dt>a<dd>b<dt>c", [("dl", ""), ("dt", "dl"), ("dd", "dl"), ("dt", "dl")]),
        ("<table><tr><td>a<td>b<tr><td>c", [("table", ""), ("tr", "table"), ("td", "tr"), ("td", "tr"), ("tr", "table"), ("td", "tr")]),
        ("<table><tr><td><p>a</div>b</table><p>c", [("table", ""), ("tr", "table"), ("td", "tr"), ("p", "td"), ("p", "")]),
        ("<div><b>a</div><i>b", [("div", ""), ("b", "div"), ("i", "")]),
        ("<a href=1>a<a href=2>b", [("a", ""), ("a", "")]),
        ("<DIV\n CLASS = x ><br/><img src=a>x", [("div", "")]),
    ],
)
def test_elements_are_closed_where_html_closes_them(markup: str, tree: list[tuple[str, str]]) -> None:
    assert elements(markup) == tree


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<script>if (1<2) '</p>'</script>b", "ab"),
        ("a<!-- <p>no</p> -->b<!-->c<!doctype html>d", "abcd"),
        ("<style>p {}</style><title>t</title><textarea>x</textarea>a", "a"),
        ('<p style="display: none">no</p><p hidden>no</p><p>yes', "yes"),
        ("<button>no</button><select><option>no</select><svg><text>no</svg>a", "a"),
        ("1 < 2 and a<b and 3 > 2 <3", "1 < 2 and a 2 <3"),
        ("<p>a<br>b<br><br>c</p><p>d</p>", "a\nb\n\nc\n\nd"),
        ("<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", "a\tb\nc\td"),
        ("<pre>a\n  b\n</pre>", "a\n  b\n"),
        ("a&amp;b &lt;c&gt; &#20013;&#x6587; &eacute;", "a&b <c> 中文 é"),
        ("<p>  a \n\t b  <b> c</b></p>", "a b c"),
        ("<p>|</p><p>»</p><p>a</p>", "a"),
        ("<p>a</p", "a"),
        ("<p>a<", "a<"),
    ],
)
def test_text_of_markup(markup: str, text: str) -> None:
    assert all_text(markup) == text


def test_hints_are_found_inside_names_and_whole_words_only_as_such() -> None:
    assert {"related", "article"} <= hints('<div class="relatedPosts post">x')
    assert "comment" in hints("<div id=disqus_thread>x")
    assert "ad" in hints('<div class="ad-box">x')
    assert "ad" not in hints('<div class="header-shadow">x')
    assert "body" in hints("<DIV ITEMPROP='articleBody'>x")
    assert hints("<footer>x") == {"footer"}
    assert hints("<div>x") == set()


def test_depth_is_bounded_and_text_is_not_lost() -> None:
    markup = "<div>" * 5000 + "deep" + "</div>" * 5000 + "<p>after"
    assert all_text(markup) == "deep\n\nafter"
    found = read_page(np.frombuffer(markup.encode(), np.uint8)).markup
    depths = np.zeros(len(found.tags), int)
    for at in range(1, len(depths)):
        depths[at] = depths[found.parents[at]] + 1
    assert depths.max() <= MAX_DEPTH


def test_features_say_where_a_block_stands() -> None:
    links = "".join(f"<li><a href=/{number}>Entry {number}</a>" for number in range(4))
    found = read_page(np.frombuffer(f"<nav><ul>{links}</ul></nav><article><p>{ENGLISH}</p><p>{ENGLISH}</p></article>".encode(), np.uint8))
    column = {name: found.features[:, at] for at, name in enumerate(FEATURES)}
    assert column["link_share"].tolist() == [1, 1, 1, 1, 0, 0]
    assert column["in_article"].tolist()[4:] == [1, 1]
    assert (column["hint_nav"][:4] == 3).all()
    assert column["ends_in_stop"].tolist() == [0, 0, 0, 0, 1, 1]
    assert column["words"].tolist()[4] == len(ENGLISH.split())
    assert column["main_levels"].tolist() == [0, 0, 0, 0, 2, 2]


def test_full_width_punctuation_and_han_count_as_their_latin_counterparts() -> None:
    found = read_page(np.frombuffer(f"<p>{CHINESE}</p><p>{''.join(f'&#{ord(char)};' for char in CHINESE)}</p>".encode(), np.uint8))
    shape = [FEATURES.index(name) for name in ("words", "stops_per_word", "commas_per_word", "ends_in_stop")]
    assert found.features[0, shape].tolist() == found.features[1, shape].tolist()
    assert found.features[0, FEATURES.index("words")] == pytest.approx(
        0.6 * sum(char > "一" and char < "\uff00" for char in CHINESE), abs=0.7
    )
    assert found.features[0, FEATURES.index("ends_in_stop")] == 1


def site(text: str, menu: str, after: str) -> str:
    links = "".join(f'<li><a href="/{number}">{menu} {number}</a></li>' for number in range(12))
    teasers = "".join(f'<div class="item"><a href="/r{number}">{after} {number}</a></div>' for number in range(6))
    body = f'<div id="content"><h1>{menu}</h1>{f"<p>{text}</p>" * 5}</div>'
    return f'<html><body><ul class="menu">{links}</ul>{body}<div class="related">{teasers}</div></body></html>'


@pytest.mark.parametrize(("text", "menu", "after"), [(ENGLISH, "Section", "Read more about"), (CHINESE, "新闻频道", "推荐阅读这一篇")])
def test_paragraphs_stay_and_menus_and_teasers_go(text: str, menu: str, after: str) -> None:
    found = engines.ENGINES["blocks"].run(site(text, menu, after))
    assert found.count(text) == 5
    assert after not in found
    assert f"{menu} 3" not in found


def test_pages_that_are_no_articles_keep_their_text() -> None:
    options = "<h2>Options</h2><dl><dt>--fast</dt><dd>Runs without checks, as long as nothing was changed.</dd></dl>"
    code = f"{options}<pre>ladder run --fast\nladder stop</pre>"
    manual = f"<body><nav><a href=/>Home</a></nav><main><h1>Manual</h1><p>{ENGLISH}</p>{code}<p>{ENGLISH}</p></main></body>"
    posts = "".join(f'<div class="post"><b>user{n}</b><div class="message">{ENGLISH} Answer {n}.</div></div>' for n in range(6))
    assert "ladder stop" in engines.ENGINES["blocks"].run(manual)
    assert engines.ENGINES["blocks"].run(f"<body><div class=forum>{posts}</div></body>").count("Answer") == 6
    assert engines.ENGINES["blocks"].run("<p>short") == "short"


def test_the_model_belongs_to_the_features(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(MODEL_FILE.read_text().replace('"words_up1"', '"no_such_feature"'))
    with pytest.raises(ValueError, match="must use features of this code, but has no_such_feature"):
        load_model(path)
    path.write_text(MODEL_FILE.read_text().replace('"leaves": [', '"leaves": [0.0, ', 1))
    with pytest.raises(ValueError, match="must have 8 leaves and 7 nodes, but 1 have not"):
        load_model(path)
    for file in (MODEL_FILE, DENSE_MODEL_FILE):
        assert as_json(load_model(file), json.loads(file.read_text())["notes"]) == file.read_text()


def test_boosting_finds_a_rule_and_the_kernel_scores_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    page = np.frombuffer(site(ENGLISH, "Section", "Read more").encode(), np.uint8)
    found = read_page(page)
    x = rng.normal(size=(400, found.features.shape[1])).astype(np.float32)
    target = ((x[:, 3] > 0.5) & (x[:, 7] < 0)).astype(np.float32)
    how = Boosting(num_trees=30, column_share=1.0, min_curvature=0.1)
    forest = grow(x, target, np.ones(400, np.float32), np.arange(400) // 10, how)
    assert ((predict(forest, x) > 0) == (target > 0)).mean() > 0.97
    narrow = grow(x[:, :NUM_FEATURES], target, np.ones(400, np.float32), np.arange(400) // 10, how)
    scores = njit(lambda forest, x: score(forest, x))(narrow, found.features)
    assert scores == pytest.approx(predict(narrow, found.features[:, :NUM_FEATURES]), abs=1e-4)


def test_labels_follow_the_known_text_in_order() -> None:
    texts = ["Home", "The ladder", "Ladders for sale", "The ladder stood there. It fell.", "Home"]
    shares, sizes = labels.targets(texts, "The ladder stood there. It fell.")
    assert shares.tolist() == [0, 0, 0, 1, 0]
    assert sizes.tolist() == [1, 2, 3, 6, 1]
    with pytest.raises(ValueError, match="must have at most"):
        labels.targets(["a " * 20_000], "a " * 20_000)


def test_nothing_follows_long_after_the_last_sure_block() -> None:
    page = np.frombuffer(site(ENGLISH, "Section", "Read more").encode(), np.uint8)
    assert b"Read more" not in main_text(page, read_page(page))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<div class=x>", "</div>", "<li>", "<td>", "<a href=y>", "</a>", "text ", "<!--", "<", "&#", "中文。", "<b"]
        )
    )
)
def test_any_markup_gives_blocks_in_order(pieces: list[str]) -> None:
    page = np.frombuffer("".join(pieces).encode() or b" ", np.uint8)
    found = read_page(page)
    blocks, markup = found.blocks, found.markup
    assert (blocks.first < blocks.last).all()
    assert (blocks.last[:-1] <= blocks.first[1:]).all()
    assert (markup.starts < markup.ends).all()
    assert (markup.parents[1:] < np.arange(1, len(markup.parents))).all()
    assert np.isfinite(found.features).all()


@pytest.mark.parametrize(
    ("head", "date"),
    [
        ('<meta property="article:published_time" content="2024-05-18T01:02:03+02:00">', datetime(2024, 5, 17, 23, 2, 3, tzinfo=UTC)),
        ("<meta content='2024-05-18' itemprop='datePublished'>", datetime(2024, 5, 18, tzinfo=UTC)),
        ('<script>{"datePublished": "2024-05-18T01:02:03Z"}</script>', datetime(2024, 5, 18, 1, 2, 3, tzinfo=UTC)),
        ("<time pubdate datetime='2024-05-18 10:00'>", datetime(2024, 5, 18, 10, tzinfo=UTC)),
        ('<meta name=pubdate content="Sat, 18 May 2024 10:00:00 GMT">', datetime(2024, 5, 18, 10, tzinfo=UTC)),
        ("<meta name=date content='yesterday'><meta name=dc.date content=2024-05-18>", datetime(2024, 5, 18, tzinfo=UTC)),
        ("<meta name=date content='0001-01-01T00:00:00+23:00'>", None),
        ("<time datetime='2024-05-18'>", None),
        ("<meta name=date content=1>", None),
    ],
)
def test_dates(head: str, date: datetime | None) -> None:
    assert metadata(f"<html><head>{head}</head>").published_at == date


def test_title_and_language() -> None:
    found = metadata('<html xml:lang="zh_CN" dir=ltr><title data-x="1"> A &amp; B </title><svg><title>no</title></svg>')
    assert (found.title, found.language) == ("A & B", "zh-CN")
    found = metadata('<meta property="og:title" content="C"><meta http-equiv=Content-Language content="en"><title></title>')
    assert (found.title, found.language) == ("C", "en")
    assert metadata("<html lang='not a language'>").language is None
    assert metadata('<!--[if IE]><html lang="de"><meta name=date content=2020-01-01><![endif]--><html data-x=">" lang="fr">') == Metadata(
        language="fr"
    )
    assert metadata("<title>a</title" * 3000).title == "a"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_date_and_any_head_never_raise(text: str) -> None:
    parse_date(text)
    metadata(f"<html {text}><meta {text}><meta name=date content='{text}'><time pubdate datetime='{text}'>")


def test_the_score_of_a_page_is_that_of_its_bags_of_four_words() -> None:
    assert gold.overlap("a b c d e f", "a b c d e x") == (2, 1, 1)
    assert gold.overlap("a b c d a b c d", "a b c d") == (1, 0, 4)
    assert gold.overlap("", "a") == (0, 1, 0)
    assert gold.overlap("梯子靠在墙上。", "梯子靠在墙下。") == (0, 1, 1)
    assert gold.overlap("梯子靠在墙上。", "梯子靠在墙下。", by_character=True) == (2, 1, 1)
    score = gold.score([(1, 1, 0), (0, 0, 5), (3, 0, 1)])
    assert (score.precision, score.recall) == (0.75, pytest.approx((1 + 0 + 0.75) / 3))
    assert score.f1 == pytest.approx(2 * 0.75 * score.recall / (0.75 + score.recall))


def test_gold_sets_are_read_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "a.html.gz").write_bytes(gzip.compress(b"<p>a"))
    (tmp_path / "html" / "b.html").write_bytes(b"<p>b")
    (tmp_path / "ground-truth.json").write_text(
        json.dumps({"b": {"articleBody": "b"}, "a": {"articleBody": "a", "url": "http://a.example/"}})
    )
    pages = gold.read_gold(tmp_path)
    assert [(page.id, page.payload, page.text, page.url) for page in pages] == [
        ("a", b"<p>a", "a", "http://a.example/"),
        ("b", b"<p>b", "b", ""),
    ]
    assert gold.set_digest(pages) == gold.set_digest(pages[::-1]) != gold.set_digest(pages[:1])
    (tmp_path / "html" / "b.html").unlink()
    with pytest.raises(FileNotFoundError, match="must hold a page for each id"):
        gold.read_gold(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no ground-truth\.json"):
        gold.read_gold(tmp_path / "html")


def test_names_of_elements_are_told_apart() -> None:
    words = vocabulary()
    assert sorted(words.tags[words.keys > 0]) == list(range(1, len(TAGS)))


@pytest.mark.parametrize(
    ("markup", "is_dense"),
    [
        ("<p>河水缓缓流过古老的磨坊，两岸的人们静静看着。</p>", True),
        ("<p>강물은 오래된 물레방아를 천천히 지나갔다.</p>", True),
        ("<p>The river slowly passed the old mill 磨坊 while people on both banks watched.</p>", False),
        ("<p>Reka je tekla mimo starega mlina.</p>", False),
        ("<p>...</p>", False),
    ],
)
def test_the_model_is_chosen_by_the_script_of_the_page(markup: str, is_dense: bool) -> None:
    page = np.frombuffer(markup.encode(), np.uint8)
    found, model = kernels.read_page(page), load_model()
    nothing, everything = (model._replace(second=model.second._replace(base=base)) for base in (-1e6, 1e6))
    written = kernels._choose()(page, found.markup, found.blocks, found.features, nothing, everything, vocabulary().kinds)[0]
    assert (len(written) > 0) == is_dense


def test_labels_are_numbers_of_blocks_and_hold_no_text() -> None:
    for digest, labels_of_page in json.loads(LABELS_FILE.read_text()).items():
        assert len(digest) == 32
        assert set(labels_of_page) <= {"blocks", "main", "unsure"}
        places = [place for span in labels_of_page["main"] for place in span]
        assert places == sorted(places)
        assert 0 <= places[0] <= places[-1] < labels_of_page["blocks"]


def test_a_page_that_was_cut_otherwise_when_it_was_labelled_is_refused() -> None:
    markup = "<p>One paragraph of some length.</p><p>Another, of the same site.</p>"
    example = labelled_example("page", "site", markup, {"blocks": 2, "main": [[1, 1]]})
    assert (example.targets.tolist(), example.text) == ([0, 1], "Another, of the same site.")
    assert labelled_example("page", "site", markup, {"blocks": 2, "main": [[1, 1]], "unsure": [[0, 0]]}).weights[0] == 0
    with pytest.raises(ValueError, match="label it again"):
        labelled_example("page", "site", markup, {"blocks": 3, "main": [[1, 1]]})


def test_sites_of_one_archive_are_told_by_host_and_first_folder() -> None:
    assert site_of("http://a.example/news/1.html") == site_of("http://a.example/news/2.html") != site_of("http://a.example/blog/1.html")

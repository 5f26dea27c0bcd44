"""The words that markup uses, as tables for the compiled scanner: names of elements, and what names of classes hint at.

Hints are general words, found anywhere in the values of class, id, itemprop, role and the like: `related-posts`, `relatedPosts` and
`relatedposts` all hint at a list of other pages. They are matched by one automaton over all words, so a value is read once. A word
between underscores is matched only as a whole word. The cost: names in languages nobody listed hint at nothing; what the text looks
like has to do there.
"""

from collections import deque
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

INLINE, BLOCK, HEADING, PARAGRAPH, ITEM, CELL, SKIPPED, VOID, BREAK, RAW = range(10)
"""How the scanner treats an element. RAW elements hold text that is no markup, and are left out with it."""

ELEMENTS: tuple[tuple[str, int], ...] = (
    ("", INLINE),
    *((name, BLOCK) for name in ("html", "head", "body", "div", "article", "section", "main", "aside", "nav", "header", "footer", "form")),
    *((name, BLOCK) for name in ("figure", "table", "ul", "ol", "dl", "blockquote", "fieldset", "details", "address", "center", "hgroup")),
    *((name, BLOCK) for name in ("thead", "tbody", "tfoot", "tr", "menu", "dialog", "search", "caption", "legend", "summary", "label")),
    *((name, HEADING) for name in ("h1", "h2", "h3", "h4", "h5", "h6")),
    *((name, PARAGRAPH) for name in ("p", "pre", "figcaption")),
    *((name, ITEM) for name in ("li", "dt", "dd")),
    *((name, CELL) for name in ("td", "th")),
    *(
        (name, SKIPPED)
        for name in ("template", "svg", "select", "button", "object", "canvas", "math", "audio", "video", "map", "datalist", "applet")
    ),
    *((name, RAW) for name in ("script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp", "plaintext", "noscript")),
    *(
        (name, VOID)
        for name in ("area", "base", "col", "embed", "img", "input", "link", "meta", "param", "source", "track", "wbr", "frame")
    ),
    ("br", BREAK),
    ("hr", BREAK),
    *(
        (name, INLINE)
        for name in ("a", "span", "b", "strong", "i", "em", "font", "time", "cite", "q", "code", "tt", "u", "small", "big", "s")
    ),
)
"""Every element the scanner tells apart, with its treatment; all others are inline."""
TAGS = {name: number for number, (name, _) in enumerate(ELEMENTS)}

HINTS: tuple[tuple[str, str], ...] = (
    ("article", "article story _post_ blogpost _entry_ wenzhang"),
    ("body", "content _body_ articlebody bodytext storybody _text_ _main_ zhengwen neirong richtext markdown wysiwyg"),
    ("title", "title headline heading"),
    ("meta", "byline _author dateline _date datetime publish timestamp _meta _time_ posted _by_ modified updated"),
    ("comment", "comment disqus _reply respond discussion pinglun liuyan guestbook"),
    ("share", "share sharing social facebook twitter addthis addtoany _follow whatsapp pinterest linkedin weibo fenxiang bookmark"),
    (
        "related",
        "related recommend similar _more_ readmore read_more seealso see_also outbrain taboola suggest xiangguan tuijian recirc upnext",
    ),
    ("popular", "recent popular trending latest _most_ mostread _top_ _hot_ _rank featured remen"),
    ("nav", "_nav navi menu crumb paginat pager toolbar topbar daohang skip _toc_ sitemap"),
    ("footer", "footer _foot_ copyright colophon legal disclaimer"),
    ("header", "header masthead _logo _brand"),
    ("sidebar", "sidebar aside widget _rail _side_ _right_ _left_ secondary complementary"),
    ("ad", "_ad_ _ads_ advert sponsor promo banner _dfp adslot marketing _cta_ offer _teads _gpt_ guanggao"),
    ("subscribe", "newsletter subscri signup sign_up _login register paywall modal popup cookie consent gdpr overlay donat"),
    ("caption", "caption credit wp_caption"),
    ("media", "image _img_ photo gallery video slide media player figure carousel"),
    ("tags", "_tag_ _tags categor topic keyword _label _cat_ biaoqian"),
    ("hidden", "hidden _hide screen_reader sr_only visuallyhidden visually noprint print_only screenreader invisible"),
    ("teaser", "teaser card _item list grid thumb excerpt feed block_ promo"),
    ("author", "_bio_ author_bio about profile contributor zuozhe"),
    ("note", "note reference citation correction footnote editor"),
    ("shop", "price _cart shop product rating review buy"),
    ("quote", "quote tweet embed instagram"),
    ("lead", "intro _lead lede standfirst subtitle subhead _dek _deck abstract summary description zhaiyao"),
    ("paragraph", "paragraph _para_ _p_ text_block textblock"),
)
"""Hint by its bit, with the words that set it. Pinyin words are what Chinese sites call the same things."""
_TAG_HINTS = {
    "article": "article", "main": "body", "nav": "nav", "menu": "nav", "footer": "footer", "header": "header", "aside": "sidebar",
    "figure": "media", "figcaption": "caption", "caption": "caption", "form": "subscribe", "label": "subscribe", "address": "author",
    "blockquote": "quote", "time": "meta", "h1": "title", "p": "paragraph",
}  # fmt: skip
"""Elements that say by their name what others say by a class."""
DATE_NAMES = (
    "article:published_time", "og:article:published_time", "datepublished", "og:published_time", "publishdate", "pubdate", "publish-date",
    "publish_date", "article.published", "parsely-pub-date", "sailthru.date", "dc.date.issued", "dcterms.created", "dc.date", "date",
)  # fmt: skip
"""Values of name, property or itemprop that stand for the date of publication, best first."""
META_NAMES = (*DATE_NAMES, "og:title", "content-language")
"""Names of <meta> that say what we want to know."""
NUM_HINTS = len(HINTS)
HINT_BITS = {name: number for number, (name, _) in enumerate(HINTS)}

SPREAD, LOWER, _MASK = 0x9E37_79B9_7F4A_7C15, 0x2020_2020_2020_2020, (1 << 64) - 1
_LETTERS = 27


class Vocabulary(NamedTuple):
    """Tables of the scanner: an open-addressed map of element names, and the automaton of hints."""

    keys: Array
    """uint64: key of an element's name, 0 where a place is free."""
    tags: Array
    """uint8: number of that element."""
    kinds: Array
    """uint8: treatment by number of the element."""
    moves: Array
    """int32 (state, letter): the next state; letter 0 stands for everything that is no letter."""
    hints: Array
    """int64: bits of the hints whose words end in the state."""
    tag_hints: Array
    """int64 by number of the element: bits of the hints its name gives."""
    meta_names: Array
    """uint64: keys of `META_NAMES`."""


def name_key(name: str) -> int:
    """A number for a name, from its first and last eight bytes and its length, with the bit set that makes letters lower case.

    The scanner computes it in two loads. Names told apart here have keys of their own, which making the table checks.
    """
    data = name.encode()
    first, last = (int.from_bytes(bytes(byte | 0x20 for byte in part), "little") for part in (data[:8], data[-8:]))
    return (((((first * SPREAD) & _MASK) ^ last) * SPREAD) + len(data)) & _MASK


@cache
def vocabulary() -> Vocabulary:
    """The tables, built once per process (some milliseconds)."""
    keys, tags = np.zeros(512, np.uint64), np.zeros(512, np.uint8)
    for number, (name, _) in enumerate(ELEMENTS[1:], 1):
        key = name_key(name)
        at = key >> (64 - 9)
        while keys[at]:
            if keys[at] == key:
                raise ValueError(f"elements must have keys of their own, but <{name}> has that of another; change SPREAD")
            at = (at + 1) & 511
        keys[at], tags[at] = key, number
    moves, hints = _automaton([(word, 1 << bit) for bit, (_, words) in enumerate(HINTS) for word in words.split()])
    names = np.array([name_key(name) for name in META_NAMES], np.uint64)
    by_tag = [1 << HINT_BITS[_TAG_HINTS[name]] if name in _TAG_HINTS else 0 for name, _ in ELEMENTS]
    return Vocabulary(keys, tags, np.array([kind for _, kind in ELEMENTS], np.uint8), moves, hints, np.array(by_tag, np.int64), names)


def _automaton(words: list[tuple[str, int]]) -> tuple[Array, Array]:
    """Aho and Corasick's automaton (1975) as a full table of moves."""
    children: list[dict[int, int]] = [{}]
    bits = [0]
    for word, bit in words:
        state = 0
        for letter in (0 if char == "_" else ord(char) - 96 for char in word):
            if letter not in children[state]:
                children[state][letter] = len(children)
                children.append({})
                bits.append(0)
            state = children[state][letter]
        bits[state] |= bit
    moves = np.zeros((len(children), _LETTERS), np.int32)
    fallback = [0] * len(children)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        bits[state] |= bits[fallback[state]]
        for letter in range(_LETTERS):
            child = children[state].get(letter)
            behind = int(moves[fallback[state], letter]) if state else 0
            if child is None:
                moves[state, letter] = behind
            else:
                moves[state, letter] = child
                fallback[child] = behind
                waiting.append(child)
    return moves, np.array(bits, np.int64)

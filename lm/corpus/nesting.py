"""A guard against pages whose markup makes extraction take minutes.

Two shapes of markup cost more than linear time. The extractor looks at every enclosing <div> of an element (8,000 nested <div>:
0.5 s; 100,000: minutes), and formatting elements that are never closed are opened again in every following block, as the HTML
standard demands (2,000 <font> with 2,000 <p> between them: 3 s and millions of nodes). No limit on size catches either: 200 kB
can hold both. So the tags are counted before the page is parsed, and the work they can cause is bounded to about a second. Of 344
real pages the deepest had 216 levels. The cost: a few per cent of the time of extraction, and no verdict on shapes nobody has met
yet.
"""

import re

MAX_DIV_WORK = 20_000_000
"""Most enclosing <div> times tags of the page: about a second of extraction."""
MAX_REOPENED = 2_000_000
"""Most unclosed formatting elements times tags of the page: a bound of the elements a parser would add, about a second."""
_DIV = re.compile(r"<(/?)div[\s>/]", re.IGNORECASE)
_FORMATTING = re.compile(r"<(/?)(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s>/]", re.IGNORECASE)


def is_too_deep(html: str) -> bool:
    """Whether parsing and extraction of the page could take far longer than its size suggests."""
    num_tags = html.count("<")
    return _exceeds(_FORMATTING, html, num_tags, MAX_REOPENED) or _exceeds(_DIV, html, num_tags, MAX_DIV_WORK)


def _exceeds(tag: re.Pattern[str], html: str, num_tags: int, limit: int) -> bool:
    """Counting is left out where even a page of nothing but these tags would stay within the limit."""
    return num_tags * num_tags > limit and _most_open(tag, html) * num_tags > limit


def _most_open(tag: re.Pattern[str], html: str) -> int:
    """The most of these elements that are open at any point."""
    depth = most = 0
    for closing in tag.findall(html):
        if not closing:
            depth += 1
            most = max(most, depth)
        elif depth:
            depth -= 1
    return most

"""What each signal means, in plain Python: slow, and short enough to be read."""

import re
import statistics
import string
from collections import Counter
from collections.abc import Callable

from lm.corpus import variants
from lm.corpus.signals import characters as ch
from lm.corpus.signals import lines, words
from storage.signals import SIGNALS


def has(char: str, flag: int) -> bool:
    return bool(ch.flags()[ord(char)] & flag)


# --- words -------------------------------------------------------------------------------------------------------------------


def prefix_size(s: str) -> int:
    if dots := re.match(r"\.\.+", s):
        return len(dots[0])
    if s[0] == "+":
        return 0 if len(s) > 1 and s[1].isdecimal() else 1
    return int(has(s[0], ch.PREFIX))


def uncased(c: str) -> bool:
    return c.isalpha() and not c.isupper() and not c.islower()


def suffix_size(s: str) -> int:
    if s[-1] == ".":
        if dots := re.search(r"\.\.+$", s):
            return len(dots[0])
        if len(s) > 1 and (s[-2].isdecimal() or has(s[-2], ch.BEFORE_PERIOD) or s[-2].islower() or uncased(s[-2])):
            return 1
        return int(len(s) > 2 and s[-2].isupper() and s[-3].isupper())
    if has(s[-1], ch.SUFFIX):
        return 1
    if len(s) > 1 and s[-1] in "sS" and s[-2] in "'’":
        return 2
    if len(s) > 1 and (s[-1] == "+" or has(s[-1], ch.CURRENCY)):
        return int(s[-2].isdecimal())
    unit = re.search(r"(?s)(?<=\d)[^\d]+$", s)
    return len(unit[0]) if unit and unit[0] in words.UNITS else 0


def is_address(s: str) -> bool:
    if len(s) > 4 and s.startswith("www."):
        return True
    if "://" in s[1:]:
        return True
    at = s.find("@", 1)
    return at >= 0 and "." in s[at + 1 : len(s) - 1]


def infix_size(s: str, i: int) -> int:
    c, before, after = s[i], s[i - 1], s[i + 1 : i + 2]
    if c == "…" or has(c, ch.ICON):
        return 1
    if not after:
        return 0
    if c == ".":
        if dots := re.match(r"\.\.+", s[i:]):
            return len(dots[0])
        left = has(before, ch.QUOTE) or before.islower() or uncased(before)
        right = has(after, ch.QUOTE) or after.isupper() or uncased(after)
        return int(left and right)
    if c in "+-*^" and before.isdecimal() and (after.isdecimal() or after == "-"):
        return 1
    if c == ",":
        return int(before.isalpha() and after.isalpha())
    if has(c, ch.HYPHEN):
        run = re.match("-{1,3}|—{1,2}|–|~", s[i:])
        assert run
        end = s[i + len(run[0]) : i + len(run[0]) + 1]
        return len(run[0]) if end and (before.isalpha() or before.isdecimal()) and end.isalpha() else 0
    return int(c in ":<>=/" and (before.isalpha() or before.isdecimal()) and after.isalpha())


def cut_core(s: str) -> list[str]:
    if is_address(s):
        return [s]
    out, begin, i = [], 0, 1
    while i < len(s):
        if size := infix_size(s, i):
            out += [s[begin:i], s[i : i + size]]
            begin = i = i + size
        else:
            i += 1
    return [w for w in [*out, s[begin:]] if w]


def cut_part(s: str) -> list[str]:
    front: list[str] = []
    back: list[str] = []
    while s:
        if s in words.ABBREVIATIONS:
            break
        if size := prefix_size(s):
            front.append(s[:size])
            s = s[size:]
        elif size := suffix_size(s):
            back.append(s[-size:])
            s = s[:-size]
        else:
            break
    if m := re.search(r"(?s)(?<=.)(n['’]t|['’](?:ve|re|ll|d|m))$", s):
        back.append(m[0])
        s = s[: -len(m[0])]
    return front + (cut_core(s) if s else []) + back[::-1]


def cut_words(text: str) -> list[str]:
    out: list[str] = []
    for chunk in text.split():
        part = ""
        for c in chunk:
            if has(c, ch.SINGLE):
                out += [*(cut_part(part) if part else []), c]
                part = ""
            else:
                part += c
        out += cut_part(part) if part else []
    return out


# --- repetition, lines, C4 ---------------------------------------------------------------------------------------------------


def duplicates(parts: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    num, size = 0, 0
    for part in parts:
        if part in seen:
            num, size = num + 1, size + len(part)
        seen.add(part)
    return num, size


def top_chars(w: list[str], n: int) -> int:
    grams = Counter(" ".join(w[i : i + n]) for i in range(len(w) - n + 1))
    return len(grams.most_common(1)[0][0]) * grams.most_common(1)[0][1] if grams else 0


def duplicate_chars(w: list[str], n: int) -> int:
    seen: set[str] = set()
    size, i = 0, 0
    while i + n <= len(w):
        gram = "".join(w[i : i + n])
        if gram in seen:
            size, i = size + len(gram), i + n
        else:
            seen.add(gram)
            i += 1
    return size


def fineweb(text: str) -> dict[str, float]:
    filled = [line for line in text.split("\n") if line.strip()]
    num, w = len(filled), cut_words(text)
    return {
        "terminal_line_fraction": sum(has(line[-1], ch.TERMINAL) for line in filled) / num if num else 0,
        "short_line_fraction": sum(len(line) <= 30 for line in filled) / num if num else 0,
        "repeated_line_char_fraction": duplicates(filled)[1] / len(text.replace("\n", "")) if num else 0,
        "newline_to_word_ratio": text.count("\n") / len(w) if w else 0,
    }


def sentences(w: list[str]) -> int:
    num, closed = int(bool(w)), False
    for word in w:
        terminal = len(word) == 1 and has(word, ch.TERMINAL)
        if closed and not terminal and not all(has(c, ch.PUNCTUATION) for c in word):
            num, closed = num + 1, False
        closed = closed or terminal
    return num


def line_faults(line: str) -> tuple[set[str], str, int]:
    stripped = line.strip()
    faults = set()
    if any(len(w) > 1000 for w in stripped.split()):
        faults.add("long")
    if len(stripped.split()) < 3:
        faults.add("few")
    cut, marks = re.subn(r"\[\d*]|\[edit]|\[citation needed]", "", stripped)
    if not cut.endswith((".", "?", "!", '"', "'")) or cut.endswith("..."):
        faults.add("open")
    small = cut.lower()
    faults |= {name for name, phrase in (("lorem", "lorem ipsum"), ("script", "javascript")) if phrase in small}
    faults |= {"policy" for phrase in lines.PHRASES[2:] if phrase in small}
    faults |= {"brace"} if "{" in cut else set()
    return faults, cut, marks


def edit(judged: list[tuple[set[str], str, int]], prefix: str, dropped: set[str]) -> tuple[dict[str, float], str]:
    kept, lorem, brace = [], 0, 0
    for faults, cut, _ in judged:
        if faults & dropped:
            continue
        if "lorem" in faults:
            lorem += 1
        elif "script" not in faults and "brace" in faults:
            brace += 1
        if not faults & {"lorem", "script", "brace", "policy"}:
            kept.append(cut)
    text = "\n".join(kept).strip()
    num_sentences = sum(sentences(cut_words(line)) for line in kept)
    names = ("num_lines", "num_sentences", "num_chars", "num_lorem_ipsum_lines", "num_curly_brace_lines")
    return {f"{prefix}_{n}": v for n, v in zip(names, (len(kept), num_sentences, len(text), lorem, brace), strict=True)}, text


def c4(text: str) -> dict[str, float]:
    judged = [line_faults(line) for line in text.splitlines()]
    count = Counter(fault for faults, _, _ in judged for fault in faults)
    out: dict[str, float] = {
        "num_long_word_lines": count["long"],
        "num_unterminated_lines": count["open"],
        "num_few_word_lines": count["few"],
        "num_javascript_lines": count["script"],
        "num_policy_lines": count["policy"],
        "num_citation_marks": sum(marks for _, _, marks in judged),
    }
    out |= edit(judged, "c4", {"long", "open", "few"})[0]
    counts, left = edit(judged, "open_c4", {"long", "few"})
    out |= counts | {"open_c4_num_words": len(cut_words(left))}
    return out | {f"open_c4_{name}": value for name, value in fineweb(left).items()}


def dclm(text: str) -> dict[str, float]:
    """What the variant's own text says, so that the measured edit and the written one are the same."""
    left, before = variants.dclm_lines(text), len(text.split())
    counters = [line for line in text.split("\n") if re.fullmatch(r"[\W_]*\d[\d,.]*[kmb]?\s+(likes|views|shares)[\W_]*", line.lower())]
    return {
        "num_counter_lines": len(counters),
        "dclm_num_lines": sum(1 for line in left.split("\n") if line.strip()),
        "dclm_num_chars": len(left),
        "dclm_removed_word_fraction": (before - len(left.split())) / before if before else 0,
    }


def characters(text: str) -> dict[str, float]:
    def share(test: Callable[[str], bool]) -> float:
        return sum(map(test, text)) / len(text)

    def script(number: int) -> Callable[[str], bool]:
        return lambda c: int(ch.flags()[ord(c)]) >> ch.SCRIPT_SHIFT == number

    normalized = re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()
    return {
        "normalized_chars": len(normalized),
        "white_space_char_fraction": share(str.isspace),
        "digit_char_fraction": share(str.isdecimal),
        "punctuation_char_fraction": share(lambda c: has(c, ch.PUNCTUATION | ch.SYMBOL)),
        "uppercase_char_fraction": share(str.isupper),
    } | {f"{name}_char_fraction": share(script(number)) for number, name in enumerate(ch.SCRIPTS, start=1)}


def measure_words(text: str, w: list[str]) -> dict[str, float]:
    plain = [x for x in w if any(not has(c, ch.NON_WORD) for c in x)]
    stop = [x for x in w if x in words.STOP_WORDS]
    sizes = [len(x) for x in text.split()]
    per_word = max(1, len(w))
    return {
        "num_words": len(w),
        "num_non_symbol_words": len(plain),
        "num_white_space_words": len(sizes),
        "mean_word_length": statistics.mean(map(len, plain)) if plain else 0,
        "median_word_length": statistics.median(sizes) if sizes else 0,
        "max_word_length": max(sizes, default=0),
        "distinct_word_fraction": len(set(w)) / per_word,
        "alphabetic_word_fraction": sum(any(c.isalpha() for c in x) for x in w) / per_word,
        "num_stop_words": len(stop),
        "num_distinct_stop_words": len(set(stop)),
        "hash_to_word_ratio": text.count("#") / per_word,
        "ellipsis_to_word_ratio": (text.count("...") + text.count("…")) / per_word,
        "ellipsis_sign_to_word_ratio": text.count("…") / per_word,
    }


def measure_lines(text: str, w: list[str]) -> dict[str, float]:
    split, filled = text.splitlines(), [line for line in text.split("\n") if line.strip()]
    parts = {"line": re.split(r"\n+", text), "paragraph": re.split(r"\n{2,}", text.strip())}
    num, num_filled = max(1, len(split)), max(1, len(filled))
    out: dict[str, float] = {
        "num_lines": len(split),
        "num_non_empty_lines": len(filled),
        "num_paragraphs": len(parts["paragraph"]),
        "bullet_line_fraction": sum(line.lstrip().startswith(("•", "-")) for line in split) / num,
        "star_bullet_line_fraction": sum(line.lstrip().startswith(("*", "-")) for line in split) / num,
        "ellipsis_line_fraction": sum(line.rstrip().endswith(("...", "…")) for line in split) / num,
        "uppercase_line_fraction": sum(2 * sum(map(str.isupper, line)) > len(line) for line in filled) / num_filled,
        "numeric_line_fraction": sum(is_numeric(line) for line in filled) / num_filled,
    }
    for unit, found in parts.items():
        repeats, chars = duplicates(found)
        out |= {f"duplicate_{unit}_fraction": repeats / len(found), f"duplicate_{unit}_char_fraction": chars / len(text)}
    out |= {f"top_{n}_gram_char_fraction": top_chars(w, n) / len(text) for n in (2, 3, 4)}
    return out | {f"duplicate_{n}_gram_char_fraction": duplicate_chars(w, n) / len(text) for n in range(5, 11)}


def is_numeric(line: str) -> bool:
    marks = ch.PUNCTUATION | ch.SYMBOL
    return any(c.isdecimal() for c in line) and all(c.isdecimal() or c.isspace() or has(c, marks) for c in line)


def reference(text: str) -> dict[str, float]:
    if not text:
        return dict.fromkeys(SIGNALS, 0)
    w = cut_words(text)
    return measure_words(text, w) | characters(text) | measure_lines(text, w) | fineweb(text) | c4(text) | dclm(text)

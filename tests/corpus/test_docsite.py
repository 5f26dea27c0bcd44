"""The documentation site of made-up packages: what it shows, how it is served, and that it can be crawled."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lm.corpus.crawler import CrawlOptions, crawl_site
from lm.corpus.docsite import Site, build, serve
from lm.corpus.docsite.docstring import to_html
from lm.corpus.docsite.server import HOST, respond
from lm.corpus.docsite.sources import module_name

LONG = "This text is long enough to be shown, since a page with hardly any words is of no use to anybody who reads. " * 2


def install(where: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A package as an installer leaves it: files, metadata and a list of both."""
    info = where / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: About {name} & co.\nLicense: MIT\n")
    for path, text in files.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_text(textwrap.dedent(text))
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    where = tmp_path / "site-packages"
    install(
        where,
        "Shapes.Kit",
        "1.2",
        {
            "shapes/__init__.py": f'"""Shapes and <their> areas.\n\n{LONG}\n"""\n',
            "shapes/round.py": f'''
                """Round shapes."""
                raise SystemExit("documentation is read, never run")
                class Circle(Base):
                    """A circle.

                    {LONG}
                    """
                    def area(self, scale: float = 1.0) -> float:
                        """The area & the rest."""
                ''',
            "shapes/terse.py": '"""Short."""\n',
            "shapes/broken.py": f'"""{LONG}"""\nprint "python 2"\n',
            "shapes/odd-name.py": f'"""{LONG}"""\n',
        },
    )
    install(where, "other", "0.1", {"other.py": f'"""Other things. {LONG}"""\n'})
    install(where, "dataladder", "9", {"mine.py": f'"""Own code. {LONG}"""\n'})
    return where


def site_of(environment: Path, cache: Path, **changes: object) -> Site:
    return build(cache, search_path=[str(environment)], standard_library=False, **changes)  # type: ignore[arg-type]


def page(site: Site, path: str) -> str:
    found = site.get(path, "http://x")
    assert found
    return found[1].decode()


def test_site_shows_what_is_documented(environment: Path, tmp_path: Path) -> None:
    site = site_of(environment, tmp_path / "cache")
    assert list(site.modules) == [("other", "other"), ("shapes-kit", "shapes"), ("shapes-kit", "shapes.round")]
    assert site.counts == {"modules": 3, "few_docstrings": 1, "not_python": 1, "not_a_module": 1}
    assert site.num_doc_chars > 3 * 200
    circle = page(site, "/shapes-kit/shapes.round.html")
    assert "<h1>shapes.round</h1>" in circle
    assert "Circle(Base)" in circle
    assert "Circle.area(self, scale: float=1.0) -&gt; float" in circle
    assert "The area &amp; the rest." in circle
    assert "distributed under: MIT" in circle
    assert "Shapes and &lt;their&gt; areas." in page(site, "/shapes-kit/")
    assert '<a href="/shapes-kit/">' in page(site, "/")
    assert site.get("/shapes-kit/shapes.terse.html", "http://x") is None
    assert site.get("/../../etc/passwd.html", "http://x") is None


def test_cache_is_used_and_digest_follows_content(environment: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = site_of(environment, tmp_path / "cache", num_workers=2, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 6)
    assert told[-1] == (6, 6)
    assert site_of(environment, tmp_path / "other", num_workers=1).digest == first.digest
    told.clear()
    again = site_of(environment, tmp_path / "cache", on_progress=lambda done, total: told.append((done, total)))
    assert (again.digest, told) == (first.digest, [(6, 6)])
    (environment / "other.py").write_text(f'"""Other things, rewritten. {LONG}"""\n')
    changed = site_of(environment, tmp_path / "cache")
    assert changed.digest != first.digest
    assert page(changed, "/shapes-kit/shapes.html") == page(first, "/shapes-kit/shapes.html")


def test_limits_nest(tmp_path: Path) -> None:
    where = tmp_path / "site-packages"
    for number in range(12):
        install(where, f"p{number}", "1", {f"p{number}/m{module}.py": f'"""Module {module}. {LONG}"""\n' for module in range(10)})
    kept = [set(site_of(where, tmp_path / "cache", max_modules=limit).modules) for limit in (7, 35, 90, 1000)]
    assert [len(modules) for modules in kept] == [7, 35, 90, 120]
    assert kept[0] < kept[1] < kept[2] < kept[3]
    only = site_of(where, tmp_path / "cache", packages=["P3"])
    assert {package for package, _ in only.modules} == {"p3"}
    with pytest.raises(ValueError, match="no installed package"):
        site_of(where, tmp_path / "cache", packages=["nothing"])


def test_answers_are_conditional_and_do_not_vary(environment: Path, tmp_path: Path) -> None:
    site = site_of(environment, tmp_path / "cache")
    target = f"http://{HOST}/shapes-kit/shapes.html"
    status, headers, body = respond(site, "GET", target, {})
    assert status == 200
    assert respond(site, "GET", "/shapes-kit/shapes.html", {"host": "127.0.0.1:5"}) == (status, headers, body)
    assert respond(site, "GET", target, {"if-none-match": f'W/{headers["ETag"]}, "x"'})[0] == 304
    assert respond(site, "GET", target, {"if-modified-since": headers["Last-Modified"]})[0] == 304
    assert respond(site, "GET", target, {"if-none-match": '"x"', "if-modified-since": headers["Last-Modified"]})[0] == 200
    assert respond(site, "GET", "http://elsewhere.org/", {})[0] == 502
    assert respond(site, "CONNECT", f"{HOST}:443", {})[0] == 405
    assert respond(site, "GET", "/nothing", {})[0] == 404
    sitemap = respond(site, "GET", "/sitemap.xml", {"host": "127.0.0.1:5"})[2].decode()
    assert sitemap.count("<loc>http://127.0.0.1:5/") == site.num_pages


def test_large_site_has_an_index_of_sitemaps(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm.corpus.docsite.site.URLS_PER_SITEMAP", 3)
    site = site_of(environment, tmp_path / "cache")
    assert page(site, "/sitemap.xml").count("<sitemap>") == 3
    assert sum(page(site, f"/sitemap-{number}.xml").count("<url>") for number in range(3)) == site.num_pages
    assert site.get("/sitemap-3.xml", "http://x") is None


def test_site_is_crawled_through_its_proxy(environment: Path, tmp_path: Path) -> None:
    site = site_of(environment, tmp_path / "cache")
    results = []
    for name in ("one", "two"):  # on two ports, with the same addresses
        with serve(site) as server:
            options = CrawlOptions(start_url=server.site_url, proxy=server.proxy_url, delay_seconds=0, autothrottle=False)
            results.append(crawl_site(options, tmp_path / name))
    assert results[0].num_pages == site.num_pages
    assert results[0].counts == results[1].counts == {"page": site.num_pages, "robots": 1, "sitemap": 1}
    assert results[0].rejects[0].example == f"http://{HOST}/search/"


def test_connection_is_kept_and_bad_requests_are_refused(environment: Path, tmp_path: Path) -> None:
    site = site_of(environment, tmp_path / "cache")
    with serve(site) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for method, path in (("GET", "/"), ("HEAD", "/other/"), ("GET", "/nothing"), ("GET", "/about.html")):
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            assert len(body) == (0 if method == "HEAD" else int(answer.headers["Content-Length"]))
            assert answer.headers["Date"] is None
        connection.close()
        nonsense = http.client.HTTPConnection("127.0.0.1", server.port)
        nonsense.putrequest("POST", "/")
        nonsense.endheaders()
        assert nonsense.getresponse().status == 405
        nonsense.close()
        with pytest.raises(OSError, match=f"did not start on port {server.port}"):
            serve(site, server.port)


def test_server_ends_with_the_process_that_started_it(environment: Path, tmp_path: Path) -> None:
    site = site_of(environment, tmp_path / "cache")
    script = f"""
        import time
        from lm.corpus.docsite import Site, serve
        server = serve(Site.load({str(site.manifest)!r}))
        print(server.port, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)):
            pass
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError("the server is still there")


def test_docstring_markup() -> None:
    text = """\
First words with ``code`` & <tags>,
and :class:`~a.B`.

Parameters
----------
x : int
    How many.
y
    Which.

- one
  more
- two

Example::

    def f():

        return 1

After it.

>>> f()
1
"""
    assert to_html(text).split("\n") == [
        "<p>First words with <code>code</code> &amp; &lt;tags&gt;,",
        "and <code>~a.B</code>.</p>",
        "<h4>Parameters</h4>",
        "<dl>",
        "<dt>x : int</dt>",
        "<dd>How many.</dd>",
        "<dt>y</dt>",
        "<dd>Which.</dd>",
        "</dl>",
        "<ul>",
        "<li>one",
        "more</li>",
        "<li>two</li>",
        "</ul>",
        "<p>Example::</p>",
        "<pre><code>def f():",
        "",
        "return 1</code></pre>",
        "<p>After it.</p>",
        "<pre><code>&gt;&gt;&gt; f()",
        "1</code></pre>",
    ]


@pytest.mark.parametrize("text", ["", "-----", "- ", "x\n---", ">>> ", "::\n\n  a", "  a\n b\nc", ":param x: y\n    z\n:returns: w"])
def test_docstring_of_any_shape_is_html(text: str) -> None:
    assert to_html(text).count("<") == to_html(text).count(">")


def test_module_names() -> None:
    assert module_name("a/b/__init__.py") == "a.b"
    assert module_name("a/b-c.py") is None
    assert module_name("__init__.py") is None

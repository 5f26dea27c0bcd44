"""Common Crawl's layout on a loopback server that knows ranges, drops connections and changes files."""

import gzip
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lm.corpus.commoncrawl import DownloadError, download, plan
from lm.corpus.documents import extract_shard
from lm.corpus.records import ExtractionOptions
from lm.corpus.sources import list_files, parse

CRAWL = "CC-MAIN-2024-22"
PATHS = [f"crawl-data/{CRAWL}/segments/1.{number}/warc/CC-MAIN-{number:05d}.warc.gz" for number in range(200)]


class Server:
    """What the server holds and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etag: str | None = '"v1"'
        self.drop_after: list[int] = []
        """Byte counts after which the next answers break off."""
        self.statuses: list[int] = []
        """Statuses the next answers have instead of the file."""
        self.ranges: list[str | None] = []
        """Range headers that came."""
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            data = state.files.get(self.path.lstrip("/"))
            if state.statuses or data is None:
                self.send_error(state.statuses.pop(0) if state.statuses else 404)
                return
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            if wanted and self.headers["If-Range"] == state.etag:
                start = int(wanted.group(1))
                if start >= len(data):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(data[start : start + state.drop_after.pop(0)] if state.drop_after else data[start:])

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        state.url = f"http://127.0.0.1:{httpd.server_address[1]}/"
        yield state
        httpd.shutdown()
        thread.join()


def listing(server: Server, paths: list[str] = PATHS, kind: str = "warc") -> None:
    server.files[f"crawl-data/{CRAWL}/{kind}.paths.gz"] = gzip.compress("".join(path + "\n" for path in paths).encode())


def test_samples_nest_and_do_not_depend_on_the_order_of_the_listing(server: Server) -> None:
    listing(server)
    ten = plan(CRAWL, num_files=10, base_url=server.url)
    assert plan(CRAWL, num_files=20, base_url=server.url)[:10] == ten
    assert plan(CRAWL, fraction=0.05, base_url=server.url) == ten
    assert plan(CRAWL, num_files=10, seed=1, base_url=server.url) != ten
    assert all(url.startswith(f"{server.url}crawl-data/{CRAWL}/segments/") for url in ten)
    assert len(plan(CRAWL, num_files=1000, base_url=server.url)) == len(plan(CRAWL, fraction=1.0, base_url=server.url)) == 200
    listing(server, PATHS[::-1])
    assert plan(CRAWL, num_files=10, base_url=server.url) == ten


def test_a_draw_is_spread_over_the_crawl(server: Server) -> None:
    listing(server)
    drawn = {PATHS.index(url.removeprefix(server.url)) // 50 for url in plan(CRAWL, num_files=40, base_url=server.url)}
    assert drawn == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crawl": "2024-22", "num_files": 1}, "must be named like CC-MAIN-2024-22, got '2024-22'"),
        ({"crawl": CRAWL}, "either num_files or fraction"),
        ({"crawl": CRAWL, "num_files": 1, "fraction": 0.1}, "either num_files or fraction"),
        ({"crawl": CRAWL, "num_files": 0}, "num_files must be at least 1, got 0"),
        ({"crawl": CRAWL, "fraction": 1.5}, "fraction must be above 0 and at most 1, got 1.5"),
        ({"crawl": CRAWL, "num_files": 1, "kind": "wat"}, "kind must be warc or wet, got 'wat'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**arguments)  # type: ignore[arg-type]


def test_bad_listings_are_refused(server: Server) -> None:
    for data in (gzip.compress(b""), gzip.compress(b"../../etc/passwd\n"), gzip.compress(b"crawl-data/x\n")[:-9], b"\xff\xfe"):
        server.files[f"crawl-data/{CRAWL}/warc.paths.gz"] = data
        with pytest.raises(ValueError, match=r"warc\.paths\.gz"):
            plan(CRAWL, num_files=1, base_url=server.url)
    with pytest.raises(DownloadError, match=r"wet\.paths\.gz: HTTP 404 .*check the address"):
        plan(CRAWL, num_files=1, kind="wet", base_url=server.url)


DATA = bytes(range(256)) * 4000


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.drop_after, seen = DATA, [300_000, 1000], list[int]()
    dest = download(server.url + "a.gz", tmp_path / "in" / "a.gz", backoff_seconds=0.01, on_progress=lambda done, total: seen.append(done))
    assert dest.read_bytes() == DATA
    assert server.ranges == [None, "bytes=300000-", "bytes=301000-"]
    assert [entry.name for entry in dest.parent.iterdir()] == ["a.gz"]
    assert seen[-1] == len(DATA)


def test_a_later_process_goes_on_with_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.drop_after = DATA, [500_000]
    with pytest.raises(DownloadError, match="500000 bytes are kept"):
        download(server.url + "a.gz", tmp_path / "a.gz", num_attempts=1)
    assert not (tmp_path / "a.gz").exists()
    assert download(server.url + "a.gz", tmp_path / "a.gz").read_bytes() == DATA
    assert server.ranges == [None, "bytes=500000-"]
    download(server.url + "a.gz", tmp_path / "a.gz")
    assert len(server.ranges) == 2


@pytest.mark.parametrize("changed", [DATA[::-1], DATA[:1000], DATA * 2])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path, changed: bytes) -> None:
    server.files["a.gz"], server.drop_after = DATA, [500_000]
    with pytest.raises(DownloadError):
        download(server.url + "a.gz", tmp_path / "a.gz", num_attempts=1)
    server.files["a.gz"], server.etag = changed, '"v2"'
    assert download(server.url + "a.gz", tmp_path / "a.gz").read_bytes() == changed


def test_without_an_identity_a_broken_download_starts_over(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.drop_after, server.etag = DATA, [500_000], None
    assert download(server.url + "a.gz", tmp_path / "a.gz", backoff_seconds=0.01).read_bytes() == DATA
    assert server.ranges == [None, None]


def test_a_shrunken_file_under_the_same_etag_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.drop_after = DATA, [500_000]
    with pytest.raises(DownloadError):
        download(server.url + "a.gz", tmp_path / "a.gz", num_attempts=1)
    server.files["a.gz"] = DATA[:1000]
    assert download(server.url + "a.gz", tmp_path / "a.gz", backoff_seconds=0.01).read_bytes() == DATA[:1000]


def test_passing_refusals_are_tried_again_and_lasting_ones_are_not(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.statuses = DATA, [503, 429, 500]
    assert download(server.url + "a.gz", tmp_path / "a.gz", backoff_seconds=0.01).read_bytes() == DATA
    server.statuses = [403, 403]
    with pytest.raises(DownloadError, match=r"cannot fetch .*b.gz: HTTP 403"):
        download(server.url + "b.gz", tmp_path / "b.gz", backoff_seconds=0.01)
    assert server.statuses == [403]


def test_attempts_are_bounded(server: Server, tmp_path: Path) -> None:
    server.files["a.gz"], server.drop_after = DATA, [0] * 100
    with pytest.raises(DownloadError, match="attempt 3 of 3"):
        download(server.url + "a.gz", tmp_path / "a.gz", num_attempts=3, backoff_seconds=0.01)


def test_an_unreachable_server_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.gz"
    with pytest.raises(DownloadError, match=rf"cannot fetch {url}: .*refused.*check the address and the network"):
        download(url, tmp_path / "a.gz", num_attempts=2, backoff_seconds=0.01)
    with pytest.raises(ValueError, match="must be http or https, got 'file:///etc/passwd'"):
        download("file:///etc/passwd", tmp_path / "b.gz")
    assert not list(tmp_path.iterdir())


def test_from_the_listing_to_documents(server: Server, tmp_path: Path) -> None:
    listing(server)
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>A page of the crawl, long enough to be one."
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\nContent-Length: {len(block)}\r\n\r\n".encode()
    [url] = plan(CRAWL, num_files=1, base_url=server.url)
    server.files[url.removeprefix(server.url)] = gzip.compress(head + block + b"\r\n\r\n")
    dest = download(url, tmp_path / "a.warc.gz")
    [file] = list_files(parse(f"warc:{dest}"))
    result = extract_shard(file, crawl=CRAWL, kind="cc", options=ExtractionOptions(), out_dir=str(tmp_path / "out"), produced_by="k")
    assert (result.num_documents, result.rejects) == (1, [])

"""The documentation site on loopback: an HTTP/1.1 server in a process of its own, and a proxy for the site's fixed name.

Asked as a proxy it answers for http://python-docs.localhost/ whatever its port is, so that addresses in a crawl, and everything derived
from them, do not depend on the port that was free that day. Answers hold nothing that varies: no Date, an ETag of the body, and a
Last-Modified derived from the body too (the files' own dates differ between installations), which is compared for equality only.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from lm.corpus.crawler.lifeline import child_environment, follow_parent
from lm.corpus.docsite.site import HTML, Site
from storage.digest import digest

HOST = "python-docs.localhost"
MAX_HEAD_BYTES = 64 << 10
_PHRASES = {200: "OK", 304: "Not Modified", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 502: "Bad Gateway"}


class Server:
    """A site being served. Use as a context manager, or close it."""

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site_url = f"http://{HOST}/"
        """The site's address when asked through the proxy."""
        job = json.dumps({"manifest": str(site.manifest.resolve()), "port": port, "parent_pid": os.getpid()})
        command = [sys.executable, "-m", "lm.corpus.docsite", "serve"]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment())
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(job + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        if not answer.startswith("{"):
            self.close()
            raise OSError(f"the documentation server did not start on port {port}: {answer.strip() or 'its message is above'}")
        self.port = int(json.loads(answer)["port"])
        self.proxy_url = f"http://127.0.0.1:{self.port}"
        """To be used as an HTTP proxy."""
        self.url = f"{self.proxy_url}/"
        """The site's address without a proxy."""

    def close(self) -> None:
        """Ends the server."""
        self._child.terminate()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def serve(site: Site, port: int = 0) -> Server:
    """Serves a site on 127.0.0.1 until the server is closed or this process ends. Raises OSError if the port is taken."""
    return Server(site, port)


class _Connection(asyncio.Protocol):
    """One connection, kept alive over many requests."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            if not self._respond(head):
                return
        if len(self._buffer) > MAX_HEAD_BYTES:
            self._send("GET", 400, {"Connection": "close"}, b"")
            self._close()

    def _respond(self, head: bytes) -> bool:
        """Answers one request; False if the connection is done."""
        first, _, rest = head.decode("latin-1").partition("\r\n")
        try:
            method, target, version = first.split(" ")
        except ValueError:
            self._send("GET", 400, {"Connection": "close"}, b"")
            self._close()
            return False
        pairs = (line.partition(":") for line in rest.split("\r\n"))
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and method in ("GET", "HEAD")
        status, answer, body = respond(self._site, method, target, headers)
        self._send(method, status, answer if keep else {**answer, "Connection": "close"}, body)
        if not keep:
            self._close()
        return keep

    def _send(self, method: str, status: int, headers: dict[str, str], body: bytes) -> None:
        assert self._transport
        lines = [f"HTTP/1.1 {status} {_PHRASES[status]}", *(f"{name}: {value}" for name, value in headers.items())]
        if status != 304:
            lines.append(f"Content-Length: {len(body)}")
        text = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._transport.write(text + (body if method != "HEAD" and status != 304 else b""))

    def _close(self) -> None:
        assert self._transport
        self._transport.close()


def respond(site: Site, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body for one request. The target may be a path, or a whole address as a proxy gets it."""
    if method not in ("GET", "HEAD"):
        return 405, {"Allow": "GET, HEAD"}, b""
    parts = urlsplit(target)
    host = parts.netloc or headers.get("host", HOST)
    if parts.netloc and (parts.scheme != "http" or parts.netloc not in (HOST, f"{HOST}:80")):
        return 502, {"Content-Type": HTML}, b"<p>This proxy leads to " + HOST.encode() + b" only.</p>"
    found = site.get(unquote(parts.path) or "/", f"http://{host}")
    if found is None:
        return 404, {"Content-Type": HTML}, b"<!DOCTYPE html><title>Not found</title><p>There is no such page.</p>"
    content_type, body = found
    tag = digest(body)
    changed = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=int(tag[:8], 16) % (5 * 365 * 24 * 60))
    answer = {"Content-Type": content_type, "ETag": f'"{tag}"', "Last-Modified": format_datetime(changed, usegmt=True)}
    if _not_modified(headers, answer):
        return 304, answer, b""
    return 200, answer, body


def _not_modified(headers: dict[str, str], answer: dict[str, str]) -> bool:
    if (tags := headers.get("if-none-match")) is not None:
        return tags.strip() == "*" or answer["ETag"] in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    return headers.get("if-modified-since") == answer["Last-Modified"]


async def _serve(site: Site, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(site), "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def run() -> None:
    """The serving process: serves the manifest named on stdin."""
    job = json.loads(sys.stdin.readline())
    follow_parent(job["parent_pid"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        asyncio.run(_serve(Site.load(Path(job["manifest"])), job["port"]))
    except OSError as error:
        print(error, flush=True)

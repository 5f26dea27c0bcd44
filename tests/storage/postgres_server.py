"""A real PostgreSQL server on loopback for tests, with a password, run as an unprivileged user where the tests run as root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "s3cr3t-pass word"


def why_not() -> str | None:
    """What is missing to run a server here; None if nothing is."""
    missing = [name for name in ("initdb", "postgres") if not shutil.which(name)]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        missing.append("setpriv (PostgreSQL does not run as root)")
    return f"needs {', '.join(missing)} on PATH" if missing else None


@contextmanager
def running() -> Iterator[int]:
    """A server with the user `ladder` and PASSWORD; gives its port."""
    folder = Path(tempfile.mkdtemp(prefix="ladder-postgres-"))
    prefix: list[str] = []
    (folder / "password").write_text(PASSWORD)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        prefix = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        for path in (folder, folder / "password"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    database = folder / "database"
    init = [
        "initdb",
        "-D",
        str(database),
        "-U",
        "ladder",
        "-A",
        "scram-sha-256",
        f"--pwfile={folder / 'password'}",
        "-N",
        "--locale=C",
        "-E",
        "UTF8",
    ]
    subprocess.run([*prefix, *init], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off", "shared_buffers": "32MB"}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([*prefix, "postgres", "-D", str(database), *words], stdout=log, stderr=log, cwd=folder)
    try:
        _wait(port, server, folder / "log")
        yield int(port)
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def _wait(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    for _ in range(600):
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="ladder", password=PASSWORD, dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {log.read_text()}") from None
            time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not answer within a minute: {log.read_text()}")

"""Load DuckDB's extensions without asking the network behind the user's back.

The choice: each extension comes as a Python package of DuckDB's version (`duckdb-extension-ducklake` and so on) and is
loaded from there; DuckDB's own INSTALL is the second way, for a machine that has network and not the package. Automatic
installing is off, so a query never starts a download. The cost: the packages must be pinned to DuckDB's exact version.
"""

import importlib.util
from pathlib import Path

import duckdb

CONNECTION_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""What every connection of this package is opened with."""


class ExtensionMissing(RuntimeError):
    """A DuckDB extension is neither installed as a package nor to be had by INSTALL."""


def bundled_path(name: str) -> Path | None:
    """The extension's file inside its Python package, or None where the package is missing or of another DuckDB version."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    return path if path.is_file() else None


def load_sql(name: str) -> str:
    """The LOAD statement for one extension, by file where the package is there."""
    path = bundled_path(name)
    return f"LOAD '{path}'" if path and "'" not in str(path) else f"LOAD {name}"


def load(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Load extensions into a connection.

    Raises: ExtensionMissing with what to do, if there is no package and INSTALL fails as well.
    """
    for name in names:
        try:
            if bundled_path(name) is None:
                connection.execute(f"INSTALL {name}")
            connection.execute(load_sql(name))
        except duckdb.Error as error:
            raise ExtensionMissing(_remedy(name, error)) from error


def _remedy(name: str, error: Exception) -> str:
    package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
    first_line = str(error).splitlines()[0]
    return (
        f"DuckDB {duckdb.__version__} needs its extension {name} and cannot load it ({first_line}); install it with: pip install {package}"
    )

"""Where the lake is and how to reach it: the one place that reads LADDER_* and AWS_* from the environment.

    LADDER_LAKE       directory of the lake (default ./lake); s3://bucket/prefix where the catalog is PostgreSQL
    LADDER_CATALOG    postgresql://user:password@host:port/database (default: SQLite file <lake>/catalog.sqlite)
    LADDER_DATA       where Parquet files go (default <lake>/data); may be s3://bucket/prefix
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL

Each library wants its own words for the same facts, so the options for s3fs, Polars and DuckDB are derived here. Secrets are
`SecretStr`: they show as asterisks in repr, logs and validation errors. The cost: a caller who needs one has to ask for it by name.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _env(*names: str, default: Any = None) -> Any:
    return Field(default=default, validation_alias=AliasChoices(*names))


def is_remote(url: str) -> bool:
    """Whether a path names an object store rather than a local file."""
    return "://" in url and not url.startswith("file://")


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


class LakeSettings(BaseSettings):
    """Location of catalog and data, and the keys of the object store."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    lake: str = _env("LADDER_LAKE", default="./lake")
    catalog: SecretStr | None = _env("LADDER_CATALOG")
    data: str | None = _env("LADDER_DATA")
    access_key_id: str | None = _env("AWS_ACCESS_KEY_ID")
    secret_access_key: SecretStr | None = _env("AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = _env("AWS_SESSION_TOKEN")
    region: str = _env("AWS_REGION", "AWS_DEFAULT_REGION", default="us-east-1")
    endpoint_url: str | None = _env("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

    @field_validator("catalog", "data", "access_key_id", "secret_access_key", "session_token", "endpoint_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @model_validator(mode="after")
    def _check(self) -> "LakeSettings":
        for name, url in (("LADDER_LAKE", self.lake), ("LADDER_DATA", self.data or "")):
            if is_remote(url) and not url.startswith("s3://"):
                raise ValueError(f"{name} must be a directory or s3://bucket/prefix; got a URL of scheme {urlsplit(url).scheme!r}")
        if self.catalog and not self.is_postgres:
            raise ValueError("LADDER_CATALOG must be postgresql://user:password@host/database, or unset for a SQLite file in the lake")
        if is_remote(self.lake) and not self.is_postgres:
            raise ValueError(f"a lake at {self.lake} needs LADDER_CATALOG=postgresql://..., because a SQLite catalog is a local file")
        return self

    @property
    def is_postgres(self) -> bool:
        """Whether the catalog is a PostgreSQL database rather than a SQLite file."""
        return self.catalog is not None and self.catalog.get_secret_value().startswith(("postgresql://", "postgres://"))

    @property
    def root(self) -> str:
        """The lake's directory or prefix, absolute, without a slash at the end."""
        return self.lake.rstrip("/") if is_remote(self.lake) else str(Path(self.lake.removeprefix("file://")).expanduser().absolute())

    @property
    def data_path(self) -> str:
        """Where Parquet files go, absolute, with a slash at the end."""
        data = self.data or f"{self.root}/data"
        return (data.rstrip("/") if is_remote(data) else str(Path(data.removeprefix("file://")).expanduser().absolute())) + "/"

    @property
    def catalog_file(self) -> Path:
        """The SQLite catalog; meaningful only if the catalog is not PostgreSQL."""
        return Path(self.root) / "catalog.sqlite"

    @property
    def catalog_name(self) -> str:
        """The catalog for people: never holds a password."""
        if not self.is_postgres:
            return str(self.catalog_file)
        parts = self.postgres_parts()
        return f"postgresql://{parts.get('host', '')}:{parts.get('port', '5432')}/{parts.get('dbname', '')}"

    def postgres_parts(self, *, with_password: bool = False) -> dict[str, str]:
        """Connection words of the PostgreSQL catalog, as libpq names them."""
        assert self.catalog is not None
        url = urlsplit(self.catalog.get_secret_value())
        parts = {"host": url.hostname, "port": url.port, "dbname": url.path.lstrip("/"), "user": url.username}
        if with_password:
            parts["password"] = url.password
        return {name: unquote(str(value)) for name, value in parts.items() if value}

    @property
    def uses_s3(self) -> bool:
        """Whether any part of the lake is on an object store."""
        return is_remote(self.data_path) or is_remote(self.root)

    def s3fs_options(self) -> dict[str, Any]:
        """Storage options for fsspec and s3fs."""
        options: dict[str, Any] = {
            "key": self.access_key_id,
            "secret": _reveal(self.secret_access_key),
            "token": _reveal(self.session_token),
        }
        options["endpoint_url"] = self.endpoint_url
        return {name: value for name, value in options.items() if value}

    def polars_options(self) -> dict[str, str]:
        """Storage options for Polars scans and sinks."""
        options = {"aws_access_key_id": self.access_key_id, "aws_secret_access_key": _reveal(self.secret_access_key)}
        options |= {"aws_session_token": _reveal(self.session_token), "aws_region": self.region, "aws_endpoint_url": self.endpoint_url}
        if (self.endpoint_url or "").startswith("http://"):
            options["aws_allow_http"] = "true"
        return {name: value for name, value in options.items() if value}

    def duckdb_s3_secret(self, *, reveal: bool = True) -> str:
        """CREATE SECRET for httpfs. Not revealed, the keys are taken from the environment by the DuckDB command line."""
        words = {"KEY_ID": self.access_key_id, "SECRET": _reveal(self.secret_access_key), "SESSION_TOKEN": _reveal(self.session_token)}
        names = {"KEY_ID": "AWS_ACCESS_KEY_ID", "SECRET": "AWS_SECRET_ACCESS_KEY", "SESSION_TOKEN": "AWS_SESSION_TOKEN"}
        parts = [f"{word} {quoted(value) if reveal else f'getenv({quoted(names[word])})'}" for word, value in words.items() if value]
        parts.append(f"REGION {quoted(self.region)}")
        if self.endpoint_url:
            url = urlsplit(self.endpoint_url)
            parts += [f"ENDPOINT {quoted(url.netloc)}", "URL_STYLE 'path'", f"USE_SSL {str(url.scheme == 'https').lower()}"]
        return f"CREATE OR REPLACE SECRET lake_s3 (TYPE s3, {', '.join(parts)})"

    def duckdb_postgres_secret(self) -> str:
        """CREATE SECRET for the PostgreSQL catalog, so that the password stands in no ATTACH and no list of databases."""
        parts = self.postgres_parts(with_password=True)
        names = {"host": "HOST", "port": "PORT", "dbname": "DATABASE", "user": "USER", "password": "PASSWORD"}
        return f"CREATE OR REPLACE SECRET lake_catalog (TYPE postgres, {', '.join(f'{names[k]} {quoted(v)}' for k, v in parts.items())})"


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None

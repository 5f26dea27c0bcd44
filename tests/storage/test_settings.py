from pathlib import Path

import pytest
from pydantic import ValidationError

from storage import catalog
from storage.settings import LakeSettings


def test_everything_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LADDER_LAKE", str(tmp_path))
    monkeypatch.setenv("LADDER_CATALOG", "postgresql://me:pw@db.example:6000/lake")
    monkeypatch.setenv("LADDER_DATA", "s3://bucket/data/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:9000")
    settings = LakeSettings()
    assert settings.root == str(tmp_path)
    assert settings.data_path == "s3://bucket/data/"
    assert settings.catalog_name == "postgresql://db.example:6000/lake"
    assert settings.s3fs_options() == {"key": "id", "secret": "hidden", "endpoint_url": "http://store.example:9000"}
    assert settings.polars_options()["aws_allow_http"] == "true"
    secret = settings.duckdb_s3_secret()
    assert "ENDPOINT 'store.example:9000'" in secret
    assert "USE_SSL false" in secret


def test_defaults_are_a_directory_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = LakeSettings.model_validate({"catalog": "", "data": ""})
    assert settings.catalog_file == tmp_path / "lake" / "catalog.sqlite"
    assert settings.data_path == f"{tmp_path}/lake/data/"
    assert not settings.uses_s3


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    secrets = {"catalog": "postgresql://me:pa55word@h/db", "secret_access_key": "hidden", "session_token": "token"}
    settings = LakeSettings.model_validate({"lake": str(tmp_path), "data": "s3://b/d", **secrets})
    shown = f"{settings!r} {settings} {settings.catalog_name} {settings.duckdb_s3_secret(reveal=False)}"
    shown += catalog.attach_sql(settings, read_only=True, shown=True) + catalog.attach_sql(settings, read_only=True)
    assert "pa55word" not in shown
    assert "hidden" not in shown
    assert "token'" not in shown


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lake": "gs://bucket"}, "must be a directory or s3://"),
        ({"data": "http://host/data"}, "must be a directory or s3://"),
        ({"catalog": "mysql://me:pa55word@h/db"}, "LADDER_CATALOG must be postgresql://"),
        ({"lake": "s3://bucket/lake"}, "needs LADDER_CATALOG=postgresql://"),
    ],
)
def test_a_wrong_place_is_refused_without_telling_secrets(values: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        LakeSettings.model_validate(values)
    assert "pa55word" not in str(caught.value)


def test_a_quote_in_a_password_cannot_leave_its_place() -> None:
    settings = LakeSettings.model_validate({"catalog": "postgresql://me:it%27s@h/db"})
    assert "PASSWORD 'it''s'" in settings.duckdb_postgres_secret()

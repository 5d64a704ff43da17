"""Which databases and stores of models a process uses."""

from pathlib import Path

import pytest

from app.services.running.stores import bucket_uploads, databases, model_files, presigned_urls
from app.settings import Settings
from app.store.bucket import BucketStore
from app.store.model_store import ModelStore
from app.store.presigned import PresignedUrls
from tests.planes import settings
from tests.services.fakes import metrics


async def test_one_sqlite_file_has_one_database_for_all(tmp_path: Path, sqlite_url: str) -> None:
    api, rounds = databases(settings(tmp_path, sqlite_url), metrics())
    assert api is rounds
    await api.dispose()


def test_requests_cannot_take_the_connections_of_rounds_on_postgres(tmp_path: Path) -> None:
    api, rounds = databases(settings(tmp_path, "postgresql+asyncpg://user@nowhere/tcsfeel"), metrics())
    assert api is not rounds


def test_models_are_in_a_directory_or_in_a_bucket_with_copies_here(tmp_path: Path) -> None:
    files, copies = model_files(Settings(data_dir=tmp_path))
    assert isinstance(files, ModelStore)
    assert copies is None
    files, copies = model_files(Settings.model_validate({"data_dir": tmp_path, "models": {"url": "s3://models"}}))
    assert isinstance(files, BucketStore)
    assert isinstance(copies, ModelStore)


@pytest.mark.usefixtures("credentials")
def test_urls_are_signed_only_where_the_settings_say_so(tmp_path: Path) -> None:
    def signing(**models: object) -> PresignedUrls | None:
        return presigned_urls(Settings.model_validate({"data_dir": tmp_path, "models": models}))

    assert signing() is None
    assert signing(url="s3://models") is None
    assert bucket_uploads(Settings.model_validate({"data_dir": tmp_path, "models": {"url": "s3://models"}})) is None
    urls = signing(url="s3://models", presigned_urls=True, presigned_endpoint="https://store.example")
    assert urls is not None
    assert urls.to_write("t.1.a.fit", 60.0).startswith("https://store.example/models/uploads/t.1.a.fit?")
    assert urls.to_read("f" * 64, 60.0).startswith("https://store.example/models/")

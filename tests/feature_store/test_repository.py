from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from feast import FeatureStore

from feature_store.repository import open_repository, redis_connection_string
from streamer.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("redis://cache", "cache:6379,db=0"),
        ("redis://cache:7000/3", "cache:7000,db=3"),
        ("redis://me:p%40ss@cache/1", "cache:6379,db=1,username=me,password=p@ss"),
        ("rediss://:x@cache", "cache:6379,db=0,password=x,ssl=true"),
    ],
)
def test_redis_urls_are_spelled_for_feast(url: str, spelling: str) -> None:
    assert redis_connection_string(url) == spelling


@pytest.mark.parametrize("url", ["", "cache:6379", "http://cache", "redis://"])
def test_what_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="give redis://"):
        redis_connection_string(url)


def test_opening_twice_and_at_once_is_safe(tmp_path: Path) -> None:
    def work(_: int) -> int:
        repository, _definitions = open_repository(tmp_path / "new" / "feast", "sqlite", "")
        return len(repository.list_feature_views())

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(work, range(8)))) == 1
    assert {entity.name for entity in FeatureStore(repo_path=str(tmp_path / "new" / "feast")).list_entities()} == {
        "user",
        "session",
        "item",
    }


def test_the_configuration_is_private_for_it_may_hold_a_password(tmp_path: Path) -> None:
    open_repository(tmp_path, "redis", "redis://:secret@localhost:1/0")
    mode = stat.S_IMODE((tmp_path / "feature_store.yaml").stat().st_mode)
    assert mode == 0o600

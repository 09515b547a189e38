from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from feast import FeatureStore

from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.item_state import ItemState
from feature_store.online import OnlineStore
from feature_store.user_state import UserState
from feature_store.vectors import ITEM_NAMES, NAMES, item_vector, user_vector
from streamer.errors import SettingsError

MakeUser = Callable[..., UserState]
MakeItem = Callable[..., ItemState]


@pytest.fixture
def store(tmp_path: Path) -> OnlineStore:
    return OnlineStore.open(tmp_path)


def _read(folder: Path, service: str, **key: str) -> dict[str, list[object]]:
    repository = FeatureStore(repo_path=str(folder))
    answer = repository.get_online_features(repository.get_feature_service(service), [key])
    return answer.to_dict()  # type: ignore[no-any-return]


def test_feast_itself_reads_the_user_vector(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    state = make_user("u", 6)
    store.push([state])
    store.flush()
    found = _read(tmp_path, "user_vector", user_id="u")
    assert [found[name][0] for name in NAMES[1:]] == pytest.approx(user_vector(state, state.watermark_ms)[1:].tolist())


def test_feast_itself_reads_the_item_vector(tmp_path: Path, store: OnlineStore, make_item: MakeItem) -> None:
    state = make_item("i", 6)
    store.push_items([state])
    found = _read(tmp_path, "item_vector", item_id="i")
    assert [found[name][0] for name in ITEM_NAMES] == pytest.approx(item_vector(state, state.last_seen_ms).tolist())


def test_feast_itself_reads_history_and_session(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    store.push([make_user("u", 3)])
    store.flush()
    features = ["user_history:item_ids", "user_history:event_times_ms", "session_state:session_id"]
    found = FeatureStore(repo_path=str(tmp_path)).get_online_features(features, [{"user_id": "u"}]).to_dict()
    assert found["item_ids"] == [["item-0", "item-1", "item-2"]]
    assert found["event_times_ms"] == [make_user("u", 3).event_times_ms]
    assert found["session_id"] == ["u:1"]


def test_feast_itself_reads_the_catalogue(tmp_path: Path, store: OnlineStore, make_item: MakeItem) -> None:
    store.push_items([make_item("i"), ItemState(item_id="bare")])
    features = ["item_record:title", "item_record:list_price", "item_record:available"]
    keys = [{"item_id": "i"}, {"item_id": "bare"}]
    found = FeatureStore(repo_path=str(tmp_path)).get_online_features(features, keys).to_dict()
    assert found["title"] == ["Ünïcode ✓", ""]
    assert found["list_price"] == [9.5, None]
    assert found["available"] == [True, True]


def test_a_large_batch_is_readable_in_full_after_flush(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    users = [make_user(f"u{number}", 2) for number in range(300)]
    store.push(users)
    assert all(store.read(user.user_id) == user for user in users)
    assert _read(tmp_path, "user_vector", user_id="u299")["log_history"] == [None]
    store.flush()
    assert _read(tmp_path, "user_vector", user_id="u299")["log_history"][0] is not None


def test_a_refresh_takes_the_longest_waiting(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    store.push([make_user(f"u{number}", 2) for number in range(3)])
    store.push([make_user("u0", 2)])  # keeps its place
    assert store.refresh(2) == 2
    known = [_read(tmp_path, "user_vector", user_id=f"u{number}")["log_history"][0] for number in range(3)]
    assert [value is not None for value in known] == [True, True, False]
    assert [store.refresh(2), store.refresh(2)] == [1, 0]


def test_a_refresh_writes_the_state_of_now(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    store.push([make_user("u", 2)])
    store.push([make_user("u", 5)])
    store.refresh()
    found = FeatureStore(repo_path=str(tmp_path)).get_online_features(["user_history:item_ids"], [{"user_id": "u"}])
    assert found.to_dict()["item_ids"] == [[f"item-{number}" for number in range(5)]]


def test_a_refresh_that_fails_is_done_again(
    store: OnlineStore, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.push([make_user("u", 2)])
    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.refresh()
    assert [store.refresh(), store.refresh()] == [1, 0]


def test_pushes_and_refreshes_of_many_threads_end_with_the_newest(
    tmp_path: Path, store: OnlineStore, make_user: MakeUser
) -> None:
    def work(number: int) -> None:
        store.push([make_user("u", number)])
        store.refresh(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(60)))
    store.push([make_user("u", 7)])
    store.flush()
    found = FeatureStore(repo_path=str(tmp_path)).get_online_features(
        ["user_history:event_times_ms"], [{"user_id": "u"}]
    )
    assert len(found.to_dict()["event_times_ms"][0]) == 7


def test_later_pushes_of_items_catch_up(tmp_path: Path, store: OnlineStore, make_item: MakeItem) -> None:
    store.push_items([make_item(f"i{number}", 2) for number in range(100)])
    assert _read(tmp_path, "item_vector", item_id="i99")[ITEM_NAMES[0]] == [None]
    store.push_items([make_item("last", 2)])
    assert _read(tmp_path, "item_vector", item_id="i99")[ITEM_NAMES[0]][0] is not None


def test_state_survives_a_new_opening(tmp_path: Path, store: OnlineStore, make_user: MakeUser) -> None:
    store.push([make_user("u", 4)])
    store.close()
    assert OnlineStore.open(tmp_path).read("u") == make_user("u", 4)


def test_threads_share_one_store(store: OnlineStore, make_user: MakeUser) -> None:
    def work(number: int) -> bool:
        state = make_user(f"u{number % 7}", number % 5)
        store.push([state])
        return store.read(state.user_id) is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))


def test_a_wrong_redis_url_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="redis://"):
        OnlineStore.open(tmp_path, "redis", "http://cache")


def test_every_family_has_its_view_and_every_field_one_name(store: OnlineStore) -> None:
    fields = [field for family in (*USER_FAMILIES, *ITEM_FAMILIES) for field in family.fields]
    assert len(fields) == len(set(fields))
    assert {family.name for family in (*USER_FAMILIES, *ITEM_FAMILIES)} <= set(store._views)


def test_nothing_is_pickled(tmp_path: Path, store: OnlineStore) -> None:
    assert b"dill" not in (tmp_path / "registry.db").read_bytes()

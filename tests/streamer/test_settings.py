from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamer.settings import Learning, Settings


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The TOML file that the settings read; not there yet."""
    for name in ("HEADWATER_KAFKA__PARTITIONS", "HEADWATER_DATA"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "headwater.toml"
    monkeypatch.setenv("HEADWATER_CONFIG", str(path))
    return path


def test_without_a_file_there_are_defaults(config: Path) -> None:
    settings = Settings()
    assert settings.kafka.partitions == 4 and settings.stores.online_store == "sqlite" and settings.data is None


def test_arguments_before_environment_before_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[kafka]\npartitions = 8\nlog_retention_days = 3\n[learning]\ndimension = 16\n")
    assert (Settings().kafka.partitions, Settings().learning.dimension) == (8, 16)
    monkeypatch.setenv("HEADWATER_KAFKA__PARTITIONS", "12")
    merged = Settings().kafka
    assert (merged.partitions, merged.log_retention_days) == (12, 3), "one value is overridden, not its group"
    assert Settings(learning=Learning(dimension=32)).learning.dimension == 32


def test_headwater_toml_lies_in_the_working_folder(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("metrics_port = 9999\n")
    monkeypatch.delenv("HEADWATER_CONFIG")
    monkeypatch.chdir(tmp_path)
    assert Settings().metrics_port == 9_999


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("KAFKA__PARTITIONS", "0", "kafka.partitions"),
        ("LEARNING__REPLAY_SHARE", "1.5", "learning.replay_share"),
        ("LEARNING__DIMENSION", "wide", "learning.dimension"),
        ("STORES__ONLINE_STORE", "memcached", "stores.online_store"),
        ("SERVING__PORT", "70000", "serving.port"),
        ("SESSIONS__GAP_SECONDS", "-1", "sessions.gap_seconds"),
    ],
)
def test_what_is_out_of_range_is_named_with_what_was_given(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, place: str
) -> None:
    monkeypatch.setenv(f"HEADWATER_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert ".".join(str(part) for part in error["loc"]) == place and error["input"] == value


def test_everything_durable_lies_under_the_state_folder() -> None:
    stores = Settings().stores.model_copy(update={"state_dir": Path("/var/headwater")})
    folders = [getattr(stores, name) for name in dir(type(stores)) if name.endswith("_dir") and name != "state_dir"]
    assert len(folders) == 6 and len(set(folders)) == 6
    assert all(folder.parent == Path("/var/headwater") for folder in folders)


def test_the_data_folder_is_a_path(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_DATA", "/data/sets")
    assert Settings().data == Path("/data/sets")


def test_shares_of_students_are_read_and_checked(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().serving.students == {"student": 1.0}
    monkeypatch.setenv("HEADWATER_SERVING__STUDENTS", '{"student": 0.9, "caser": 0.1}')
    assert Settings().serving.students == {"student": 0.9, "caser": 0.1}
    monkeypatch.setenv("HEADWATER_SERVING__STUDENTS", '{"student": 0.9, "caser": 0.2}')
    with pytest.raises(ValidationError, match="student = 0.9, caser = 0.2; they sum to 1.1, but must sum to 1"):
        Settings()


@pytest.mark.parametrize("name", ["foundation", "teacher", "a/b", "", "with space"])
def test_a_student_cannot_have_any_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Learning(name=name)

"""Settings of every process: one TOML file and the environment.

``headwater.toml`` in the working folder (or the file that ``HEADWATER_CONFIG`` names) is read first, then the
environment overrides it: ``HEADWATER_KAFKA__BOOTSTRAP_SERVERS=kafka:9092`` sets ``kafka.bootstrap_servers``.

>>> Settings().kafka.partitions
4
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from exporters.assignment import check_shares
from exporters.errors import AssignmentError
from streamer.drift.settings import Drift

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
Key = Annotated[str, Field(min_length=8, pattern=r"^[\x21-\x7e]+$")]  # what an HTTP header can carry
RESERVED_NAMES = ("foundation", "teacher")


class Kafka(BaseModel):
    """The broker and how topics are laid out on it."""

    bootstrap_servers: str = "localhost:9092"
    partitions: int = Field(4, ge=1)
    replication_factor: int = Field(1, ge=1)
    log_retention_days: int = Field(7, ge=1)
    fetch_max_wait_ms: int = Field(500, ge=1, description="how long the broker may hold an empty fetch")


class Events(BaseModel):
    """What the door lets in."""

    earliest_event_time_ms: int = 631_152_000_000  # 1990-01-01: anything older is a clock at zero, not history
    future_tolerance_seconds: float = Field(300.0, ge=0)
    max_event_bytes: int = Field(262_144, ge=1_024)
    max_slate: int = Field(1_000, ge=1)


class Sessions(BaseModel):
    """How a user's events become sessions and examples."""

    gap_seconds: float = Field(1_800.0, gt=0)
    history_limit: int = Field(30, ge=1)
    seen_limit: int = Field(1_000, ge=1)
    impression_window_seconds: float = Field(30.0, gt=0)
    batch_events: int = Field(512, ge=1)
    batch_within_seconds: float = Field(0.02, gt=0, description="least time between two batches")


class Stores(BaseModel):
    """Where state lies. Everything under ``state_dir`` is durable."""

    state_dir: Path = Path("state")
    online_store: Literal["sqlite", "redis"] = "sqlite"
    redis_url: str = "redis://localhost:6379/0"

    @property
    def event_log_dir(self) -> Path:
        """Parquet files of every accepted event, partitioned by event date."""
        return self.state_dir / "event-log"

    @property
    def sessions_dir(self) -> Path:
        """One SQLite file for each partition of the events topic."""
        return self.state_dir / "sessions"

    @property
    def feast_dir(self) -> Path:
        """The Feast repository: registry and, on a laptop, the SQLite online store."""
        return self.state_dir / "feast"

    @property
    def models_dir(self) -> Path:
        """The model registry: one folder a version."""
        return self.state_dir / "models"

    @property
    def labels_dir(self) -> Path:
        """Parquet files of the teacher's soft labels, partitioned by the day on which they were given."""
        return self.state_dir / "labels"

    @property
    def snapshots_dir(self) -> Path:
        """Snapshots of the learners."""
        return self.state_dir / "snapshots"


class Learning(BaseModel):
    """The trainer."""

    name: str = Field("student", pattern=MODEL_NAME, description="of what is published; each has a trainer of its own")
    family: str = Field("session", description="which network the trainer holds, see streamer.families")
    catalog_rows: int = Field(20_000, ge=16)
    admission_sightings: int = Field(1, ge=1)
    dimension: int = Field(64, ge=8)
    batch_examples: int = Field(64, ge=1)
    threads: int = Field(1, ge=1, description="of PyTorch: micro-batches are too small to gain from more")
    batch_most_examples: int = Field(256, ge=1, description="in a micro-batch of a trainer that is behind")
    batch_within_seconds: float = Field(0.1, gt=0, description="a micro-batch that is not full is learnt after so long")
    shed_behind_examples: int = Field(
        1_000, ge=0, description="so far behind, replay and most tests are left out until it has caught up; 0: never"
    )
    candidates: int = Field(120, ge=10)
    neighbours: int = Field(200, ge=10)
    publish_rows_seconds: float = Field(
        0.2, gt=0, description="least time between two; rows then go out with the end of a micro-batch"
    )
    publish_dense_seconds: float = Field(5.0, gt=0)
    parity_seconds: float = Field(30.0, gt=0, description="each table of the servers is checked once in this time")
    snapshot_seconds: float = Field(10.0, gt=0)
    replay_share: float = Field(0.25, ge=0, le=1)
    int8: bool = Field(False, description="publish an int8 form of each graph too, where it ranks no worse")
    clippy: bool = Field(True, description="no weight moves by more than half of itself in a step")
    distillation: Literal["auxiliary", "direct", "ranking", "off"] = Field(
        "auxiliary", description="how soft labels are learnt; without a teacher nothing is"
    )
    distillation_weight: float = Field(1.0, ge=0, description="of the soft labels' loss beside the hard one")
    satisfaction_weight: float = Field(
        0.0, ge=0, description="of the loss by the teacher's satisfaction logits, a second task of the student; 0: off"
    )
    hard_twin: bool = Field(False, description="beside the student one that learns the same by hard labels alone")
    seed: int = 7

    @field_validator("name")
    @classmethod
    def _check_name(cls, given: str) -> str:
        if given in RESERVED_NAMES:
            raise ValueError(f"{given!r} is the name of another model; give the student another one")
        return given


class Labels(BaseModel):
    """The label store and how students wait for soft labels."""

    retention_days: int = Field(14, ge=1)
    flush_seconds: float = Field(5.0, gt=0)
    flush_labels: int = Field(20_000, ge=1, description="labels that wait for a file at most")
    upkeep_seconds: float = Field(300.0, gt=0, description="from one compaction to the next")
    compact_files: int = Field(16, ge=2, description="small files of a day and partition that become one")
    wait_seconds: float = Field(20.0, gt=0, description="a batch waits for its labels so long at most")
    waiting_examples: int = Field(16_384, ge=1, description="of a student, waiting for their labels at most")
    staleness_seconds: float = Field(
        600.0, gt=0, description="a label given later than this after its event is not used"
    )
    held: int = Field(50_000, ge=1, description="labels that a student holds until their example comes")


class Foundation(BaseModel):
    """The foundation model: trained on long histories, refreshed at an interval."""

    threads: int = Field(1, ge=1, description="of PyTorch")
    dimension: int = Field(64, ge=8)
    layers: int = Field(2, ge=1)
    length: int = Field(100, ge=2, description="events that the model reads of a history")
    dropout: float = Field(0.2, ge=0, lt=1)
    id_mask_rate: float = Field(0.1, ge=0, lt=1, description="share of items that training knows by metadata alone")
    recent: int = Field(500, ge=2, description="newest events in which the first training's windows slide")
    first_events: int = Field(1, ge=1, description="in the log before the first training begins")
    first_epochs: int = Field(20, ge=1, description="of the first training, over all that the log holds")
    judged_users: int = Field(500, ge=1, description="users whose newest event a refresh ranks before it learns it")
    replay_share: float = Field(0.4, ge=0, lt=1, description="of a refresh's windows: drawn from old histories")
    learning_rate: float = Field(1e-3, gt=0)
    batch_windows: int = Field(128, ge=1)
    refresh_seconds: float = Field(600.0, gt=0)
    most_events: int = Field(2_000, ge=2, description="kept of a user")
    most_users: int = Field(200_000, ge=1)
    most_residual: float = Field(0.7, gt=0, description="share of the space that may change before a new one begins")
    announce: bool = Field(True, description="tell the servers over Kafka")
    seed: int = 7


class Teacher(BaseModel):
    """The teacher: a larger model that labels the examples, and learns each of them after it has labelled it."""

    scale: int = Field(2, ge=1, le=8, description="width, as a multiple of learning.dimension")
    kept: int = Field(20, ge=1, description="best candidates in a label, beside the item taken")
    learns: bool = Field(True, description="every micro-batch, after it has labelled it; else in refreshes alone")
    batch_examples: int = Field(64, ge=1, description="in a micro-batch, which is one step of learning")
    batch_within_seconds: float = Field(0.25, gt=0)
    window_examples: int = Field(20_000, ge=64, description="latest examples that a refresh trains on, on disk")
    segment_examples: int = Field(256, ge=16, description="of the window, in one file")
    held_out_share: float = Field(0.1, gt=0, le=0.5, description="newest part of the window, kept to judge a refresh")
    epochs: int = Field(2, ge=1, description="of a refresh, over the window")
    refresh_batch: int = Field(64, ge=1, description="examples in a step of a refresh")
    refresh_seconds: float | None = Field(
        None, gt=0, description="from one refresh to the next; None: 300 without learns, with it only when asked"
    )
    first_refresh_examples: int = Field(2_048, ge=1, description="the first comes once so many are in the window")
    most_refresh_seconds: float = Field(240.0, gt=0, description="a refresh ends here, wherever it is")
    drift_delta: float = Field(0.002, ge=0, lt=1, description="ADWIN's chance of a false alarm; 0 turns it off")
    drift_pause_seconds: float = Field(60.0, ge=0, description="least time between a refresh and one for drift")
    snapshot_seconds: float = Field(30.0, gt=0)
    long_play_seconds: float = Field(30.0, gt=0, description="a play of this length counts as satisfaction")
    threads: int = Field(1, ge=1)
    nice: int = Field(10, ge=0, le=19, description="added to the process's priority number")

    @property
    def interval_seconds(self) -> float:
        """Time from one refresh to the next; infinite where none comes by time."""
        if self.refresh_seconds is not None:
            return self.refresh_seconds
        return math.inf if self.learns else 300.0


class Serving(BaseModel):
    """The HTTP server."""

    host: str = "127.0.0.1"
    port: int = Field(8_080, ge=0, le=65_535)
    api_key: str | None = Field(None, repr=False, description="one key that may do everything")
    api_keys: dict[str, Key] = Field({}, repr=False, description="keys of applications by name")
    admin_keys: dict[str, Key] = Field({}, repr=False, description="keys that may also roll back and reload, by name")
    rate_per_second: float = Field(0.0, ge=0, description="requests of one key (or address); 0: as many as come")
    rate_burst: int = Field(100, ge=1, description="requests at once before the rate counts")
    lame_duck_seconds: float = Field(2.0, ge=0, description="from SIGTERM on: not ready, but everything is answered")
    drain_seconds: float = Field(5.0, gt=0, description="then requests under way have so long to finish")
    staleness_seconds: float = Field(
        30.0, gt=0, description="not ready once the broker is silent, or rows stand still, for so long"
    )
    broker_wait_seconds: float = Field(5.0, gt=0, description="an event waits for the broker so long at most")
    precision: Literal["float32", "int8"] = Field(
        "float32", description="of the graphs; int8 where a version has it, see learning.int8"
    )
    providers: tuple[str, ...] = Field(
        ("auto",), min_length=1, description="of ONNX Runtime, best first; auto: CUDA where there is one, else the CPU"
    )
    deadline_ms: float = Field(150.0, gt=0)
    sources_ms: float = Field(25.0, gt=0, description="a list goes without sources that have not answered by then")
    session_states_mb: int = Field(64, ge=0, description="memory for encoded sessions; 0 encodes at every request")
    stability_margin: float = Field(
        0.05, ge=0, description="log-odds by which an item must beat one shown before to take its place; 0 turns it off"
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024)
    max_candidates: int = Field(500, ge=10)
    max_results: int = Field(100, ge=1)
    canary_share: float = Field(0.0, ge=0, le=0.5, description="of the users try a new version before all do; 0: off")
    canary_seconds: float = Field(60.0, gt=0, description="a trial ends then, or after canary_lists of its lists")
    canary_lists: int = Field(1_000, ge=1)
    students: dict[str, float] = Field({"student": 1.0}, description="share of the users by the model's name; sum 1")
    assignment_salt: str = Field("", description="another salt puts other users together")

    @field_validator("students")
    @classmethod
    def _check_students(cls, given: dict[str, float]) -> dict[str, float]:
        try:
            check_shares(given)
        except AssignmentError as error:
            raise ValueError(str(error)) from error
        return given


class Logs(BaseModel):
    """What a server writes to its log."""

    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, else JSON lines")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    access_share: float = Field(0.0, ge=0, le=1, description="of the requests that get a line with their stages")
    slow_ms: float = Field(1_000.0, gt=0, description="a request that takes longer always gets a line")


class Tracing(BaseModel):
    """OpenTelemetry traces of the server (extra ``tracing``)."""

    endpoint: str = Field("", description="OTLP over HTTP, http://collector:4318/v1/traces; empty: no traces")
    share: float = Field(0.01, ge=0, le=1, description="of the requests whose caller has not decided it")


class Settings(BaseSettings):
    """All settings, grouped by the part that reads them."""

    model_config = SettingsConfigDict(env_prefix="HEADWATER_", env_nested_delimiter="__", extra="ignore")

    kafka: Kafka = Kafka()
    events: Events = Events()
    sessions: Sessions = Sessions()
    stores: Stores = Stores()
    learning: Learning = Learning()
    foundation: Foundation = Foundation()
    teacher: Teacher = Teacher()
    labels: Labels = Labels()
    drift: Drift = Drift()
    serving: Serving = Serving()
    logs: Logs = Logs()
    tracing: Tracing = Tracing()
    metrics_port: int = Field(0, ge=0, le=65_535, description="Prometheus port of worker and trainer; 0 picks one")
    data: Path | None = Field(None, description="Folder with data sets already on disk (HEADWATER_DATA)")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, Path(os.environ.get("HEADWATER_CONFIG", "headwater.toml")))
        return init_settings, env_settings, toml

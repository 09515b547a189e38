"""Feast's entities, views and push sources, generated from the families: a feature is declared once.

=====================  =========  ==========================================================================
view                   entity     what
=====================  =========  ==========================================================================
``user_history``       user       history arrays and the packed record (online only)
``session_state``      session    id, number, length and start of the user's current session
one per family         as said    the family's fields, as they stand at the record's last event
``item_record``        item       what the catalogue says and the packed record (online only)
``foundation_vector``  user       vector of the foundation model, its space and version (online only)
=====================  =========  ==========================================================================

A session is looked up by its user: the store then holds one current session a user, not one for ever for each that
ever was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.families.family import ItemFamily, UserFamily
from feature_store.feast_alone import (
    Array,
    Bool,
    Bytes,
    Entity,
    FeastType,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Float32,
    Float64,
    Int64,
    PushSource,
    String,
    ValueType,
)

PROJECT = "headwater"
USERS_FILE = "users.parquet"
ITEMS_FILE = "items.parquet"
USER_HISTORY = "user_history"
SESSION_STATE = "session_state"
ITEM_RECORD = "item_record"
FOUNDATION_VECTOR = "foundation_vector"

USER_HISTORY_FIELDS = {
    "item_ids": Array(String),
    "actions": Array(String),
    "event_times_ms": Array(Int64),
    "packed": Bytes,
}
SESSION_STATE_FIELDS = {
    "session_id": String,
    "session_number": Int64,
    "session_length": Int64,
    "session_started_ms": Int64,
}
ITEM_RECORD_FIELDS = {
    "title": String,
    "categories": Array(String),
    "list_price": Float64,
    "published_time_ms": Int64,
    "available": Bool,
    "packed": Bytes,
}
FOUNDATION_VECTOR_FIELDS = {
    "vector": Array(Float32),
    "space": String,
    "version": String,
    "computed_time_ms": Int64,
}

_ENTITIES = {
    "user": ("user_id", "Who acts."),
    "session": ("user_id", "The current session of a user."),
    "item": ("item_id", "What is acted on."),
}


@dataclass(frozen=True)
class Definitions:
    """Everything that ``feast apply`` registers.

    ``views`` maps names to feature views; ``services`` are named lists of features in vector order.
    """

    entities: dict[str, Any]
    sources: dict[str, Any]
    views: dict[str, Any]
    services: tuple[Any, ...]

    def objects(self) -> list[Any]:
        """List all definitions in the form that ``FeatureStore.apply`` takes."""
        return [*self.entities.values(), *self.sources.values(), *self.views.values(), *self.services]


def define(offline_dir: Path) -> Definitions:
    """Generate the definitions; ``offline_dir`` is where the historical feature rows (Parquet) lie.

    Parameters
    ----------
    offline_dir
        Folder of ``users.parquet`` and ``items.parquet``; they need not exist yet.
    """
    entities = {name: _entity(name, key, about) for name, (key, about) in _ENTITIES.items()}
    sources = {
        "users": _source("users", "user_id", offline_dir / USERS_FILE),
        "items": _source("items", "item_id", offline_dir / ITEMS_FILE),
    }
    users, items = sources["users"], sources["items"]
    views = [
        _view(USER_HISTORY, entities["user"], users, USER_HISTORY_FIELDS, online_only=True),
        _view(SESSION_STATE, entities["session"], users, SESSION_STATE_FIELDS),
        _view(FOUNDATION_VECTOR, entities["user"], users, FOUNDATION_VECTOR_FIELDS, online_only=True),
        _view(ITEM_RECORD, entities["item"], items, ITEM_RECORD_FIELDS, online_only=True),
        *(_family_view(family, entities, users) for family in USER_FAMILIES),
        *(_family_view(family, entities, items) for family in ITEM_FAMILIES),
    ]
    by_name = {view.name: view for view in views}
    services = (
        FeatureService(name="user_vector", features=[by_name[family.name] for family in USER_FAMILIES]),
        FeatureService(name="item_vector", features=[by_name[family.name] for family in ITEM_FAMILIES]),
    )
    return Definitions(entities, sources, by_name, services)


def _entity(name: str, join_key: str, description: str) -> Any:
    return Entity(name=name, join_keys=[join_key], value_type=ValueType.STRING, description=description)


def _source(name: str, key: str, path: Path) -> Any:
    batch = FileSource(name=f"{name}_offline", path=str(path.absolute()), timestamp_field="event_timestamp")
    return PushSource(name=f"{name}_push", batch_source=batch, description=f"Stream of feature rows by {key}.")


def _view(name: str, entity: Any, source: Any, fields: dict[str, FeastType], *, online_only: bool = False) -> Any:
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(0),  # a record never expires by itself
        schema=[Field(name=field, dtype=kind) for field, kind in fields.items()],
        source=source,
        online=True,
        tags={"offline": "no"} if online_only else {},
    )


def _family_view(family: UserFamily | ItemFamily, entities: dict[str, Any], source: Any) -> Any:
    return _view(family.name, entities[family.entity], source, {field: Float64 for field in family.fields})

from __future__ import annotations

import re
from pathlib import Path

from feature_store.definitions import define
from feature_store.families import ITEM_FAMILIES, USER_FAMILIES

FAMILIES = (*USER_FAMILIES, *ITEM_FAMILIES)
PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_page_lists_the_families_as_they_are_declared() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\((\S+)\) \| (\w+) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    listed = [(name, entity, tuple(re.findall(r"`(\w+)`", fields))) for name, _, entity, fields in rows]
    assert listed == [(family.name, family.entity, family.fields) for family in FAMILIES]
    assert all((PAGE.parent / link).is_file() for _, link, _, _ in rows)


def test_every_family_is_a_view_of_its_entity_with_its_fields(tmp_path: Path) -> None:
    definitions = define(tmp_path)
    for family in FAMILIES:
        view = definitions.views[family.name]
        assert view.entities == [family.entity]
        assert {field.name for field in view.features} == set(family.fields)


def test_views_are_fed_by_push_sources_over_parquet(tmp_path: Path) -> None:
    definitions = define(tmp_path)
    assert set(definitions.entities) == {"user", "session", "item"}
    assert {source.name for source in definitions.sources.values()} == {"users_push", "items_push"}
    assert definitions.views["ctr"].batch_source.path == str(tmp_path / "items.parquet")
    assert definitions.views["recency"].batch_source.path == str(tmp_path / "users.parquet")


def test_services_list_the_vectors_in_order(tmp_path: Path) -> None:
    services = {service.name: service for service in define(tmp_path).services}
    names = [projection.name for projection in services["user_vector"].feature_view_projections]
    assert names == [family.name for family in USER_FAMILIES]

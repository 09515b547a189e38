"""Items that a model of long histories finds for a user stand beside the candidates of the sources."""

from __future__ import annotations

from dataclasses import replace


async def ids(client_of, services, **asked):
    async with client_of(services) as client:
        response = await client.post("/recommend", json={"user_id": "u", "count": 50, **asked})
        assert response.status_code == 200, response.text
        return [item["item_id"] for item in response.json()["items"]]


async def test_what_it_knows_is_offered(services, client_of):
    """An item that no table has a row for comes by name."""
    asked = []

    def known_of(user_id: str) -> list[str]:
        asked.append(user_id)
        return ["only-the-foundation-knows"]

    plain = await ids(client_of, services)
    with_it = await ids(client_of, replace(services, known_of=known_of))
    assert asked == ["u"]
    assert "only-the-foundation-knows" not in plain
    assert set(with_it) == {*plain, "only-the-foundation-knows"}


async def test_filters_hold_for_it_too(services, client_of):
    known = replace(services, known_of=lambda user_id: ["x", "y", "x"])
    assert "x" not in await ids(client_of, known, deny=["x"])
    assert (await ids(client_of, known)).count("x") <= 1

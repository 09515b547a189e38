from __future__ import annotations

from streamer.seen_items import SeenItems


class TestSeenItems:
    def test_bounds(self) -> None:
        seen = SeenItems(users=2, items=3)
        for row in (2, 3, 2, 4, 5):
            seen.add("ada", row)
        assert seen.of("ada").tolist() == [3, 4, 5]
        seen.add("bob", 2)
        seen.add("ada", 5)
        seen.add("eve", 2)
        assert seen.of("bob").tolist() == [] and seen.of("ada").tolist() == [3, 4, 5]

    def test_state_keeps_the_order_of_the_users(self) -> None:
        seen, again = SeenItems(users=2), SeenItems(users=2)
        again.add("left over", 9)
        again.load_state_dict(seen.state_dict())
        assert again.of("left over").tolist() == []
        seen.add("ada", 2)
        seen.add("bob", 3)
        seen.add("bob", 4)
        again.load_state_dict(seen.state_dict())
        again.add("eve", 5)
        assert [again.of(user).tolist() for user in ("ada", "bob", "eve")] == [[], [3, 4], [5]]

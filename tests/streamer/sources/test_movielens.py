from __future__ import annotations

from pathlib import Path

from streamer.sources import open_source


def test_the_published_1m_is_read_with_stars(tmp_path: Path) -> None:
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("7::2::4::1000000010\n8::1::5::1000000000\n")
    (folder / "movies.dat").write_bytes("1::Café (1999)::Drama|Comedy\n2::Late One (2030)::Drama\n".encode("latin-1"))
    source = open_source("ml-1m", tmp_path)
    assert [(e.event_id, e.user_id, e.item_id, e.value) for e in source.events()] == [
        ("ml-1m:1", "8", "1", 5.0),
        ("ml-1m:0", "7", "2", 4.0),
    ]
    items = {event.item_id: event for event in source.items()}
    assert items["1"].title == "Café (1999)" and items["1"].categories == ["Drama", "Comedy"]
    assert items["2"].event_time_ms == 1_000_000_010_000  # known at the latest with its first rating

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from streamer.errors import SourceError
from streamer.sources.download import download


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "published"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def archive(**files: str) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(name.replace("__", "/"), text)
    return raw.getvalue()


def test_the_licence_is_shown_before_anything_is_fetched(tmp_path: Path, publisher: tuple[str, Path]) -> None:
    url, folder = publisher
    (folder / "ml-100k.zip").write_bytes(archive(**{"ml-100k__u.data": "1\t2\t3\t4\n"}))
    shown: list[str] = []
    with pytest.raises(SourceError, match="not agreed"):
        download("ml-100k", tmp_path / "data", lambda text: bool(shown.append(text)), url)
    assert "GroupLens" in shown[0] and not (tmp_path / "data").exists()
    path = download("ml-100k", tmp_path / "data", lambda _: True, url)
    assert (path / "u.data").read_text() == "1\t2\t3\t4\n"
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["ml-100k"]
    assert download("ml-100k", tmp_path / "data", lambda _: pytest.fail("asked again"), url) == path


@pytest.mark.parametrize("content", [None, b"no zip", archive(other="x"), archive(**{"..__ml-100k__u.data": "x"})])
def test_a_bad_archive_leaves_nothing_behind(
    tmp_path: Path, publisher: tuple[str, Path], content: bytes | None
) -> None:
    url, folder = publisher
    if content is not None:
        (folder / "ml-100k.zip").write_bytes(content)
    if content is not None and b"../ml-100k" in content:
        download("ml-100k", tmp_path / "data", lambda _: True, url)  # stays inside the folder
        assert not (tmp_path / "ml-100k").exists()
        return
    with pytest.raises(SourceError):
        download("ml-100k", tmp_path / "data", lambda _: True, url)
    assert list((tmp_path / "data").iterdir()) == []


def test_only_movielens_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ml-100k, ml-latest-small, ml-1m"):
        download("beauty", tmp_path, lambda _: True)

"""Fetching MovieLens from its publisher, after the licence was shown and agreed to."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx

from streamer.errors import SourceError
from streamer.sources.location import PUBLISHERS

BASE_URL = "https://files.grouplens.org/datasets/movielens"
DOWNLOADABLE = ("ml-100k", "ml-latest-small", "ml-1m")


def download(name: str, data_dir: Path, agree: Callable[[str], bool], base_url: str = BASE_URL) -> Path:
    """Fetch and unpack a data set; returns its folder.

    Parameters
    ----------
    name
        One of :data:`DOWNLOADABLE`.
    data_dir
        Where the folder ``name`` will lie.
    agree
        Is shown the licence and says whether to go on.
    base_url
        Where the publisher's archives are.

    Raises
    ------
    SourceError
        Where the name is another one, the licence is not agreed to, or the archive cannot be had.
    """
    if name not in DOWNLOADABLE:
        raise SourceError(f"{name!r} is not downloaded by this command; it fetches {', '.join(DOWNLOADABLE)}")
    if (data_dir / name).exists():
        return data_dir / name
    publisher = PUBLISHERS[name]
    if not agree(f"{name} ({publisher.url})\nLicence: {publisher.licence}\nDownload it and keep to this licence?"):
        raise SourceError(f"{name} was not downloaded: its licence was not agreed to")
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir) as folder:
        _fetch(f"{base_url}/{name}.zip", Path(folder) / "archive.zip")
        _unpack(Path(folder) / "archive.zip", Path(folder))
        if not (Path(folder) / name).is_dir():
            raise SourceError(f"the archive at {base_url}/{name}.zip holds no folder {name}")
        return (Path(folder) / name).rename(data_dir / name)


def _fetch(url: str, path: Path) -> None:
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as answer, path.open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
    except httpx.HTTPError as error:
        raise SourceError(f"cannot download {url}: {error}") from error


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)  # drops absolute and parent paths by itself
    except zipfile.BadZipFile as error:
        raise SourceError(f"the download is no zip archive: {error}") from error

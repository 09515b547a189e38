"""The live page in a real browser: become a user, click, and watch the list follow within the session."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from exporters.announcements import Announcement
from exporters.server import build_app

pytestmark = [pytest.mark.integration, pytest.mark.slow]

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'headwater[test]'")
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1000",
)
WAIT_SECONDS = 30


def _small_server():
    """The parts that the tests of the routes use: a real ONNX model and seams in memory."""
    place = Path(__file__).parents[1] / "exporters" / "serving" / "conftest.py"
    spec = importlib.util.spec_from_file_location("serving_parts", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def services(tmp_path):
    parts = _small_server()
    made = parts.services.__wrapped__(parts.Registry(tmp_path / "models"))
    made.board.quality = {"hr@10": 0.23, "popular_7d_hr@10": 0.07}
    return replace(made, clock_ms=lambda: time.time_ns() // 1_000_000)


@pytest.fixture
def address(services) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(services), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def browser(tmp_path):
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def _announced(kind, number, time_ms, **more):
    return Announcement(name="student", kind=kind, version=f"{number:06d}-abcdef12", time_ms=time_ms, **more)


def _until(browser, found):
    wait = WebDriverWait(browser, WAIT_SECONDS, ignored_exceptions=(StaleElementReferenceException,))
    return wait.until(lambda driver: found())


def _cards(browser) -> list[str]:
    return [card.get_attribute("data-item") for card in browser.find_elements(By.CSS_SELECTOR, ".card")]


def _text(browser, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def test_a_click_changes_the_list_within_the_session(browser, address, services):
    browser.get(f"{address}/?user=ada")
    before = _until(browser, lambda: _cards(browser))
    assert before[0] == "m9" and _text(browser, "#list-title") == "For ada"

    card = browser.find_element(By.CSS_SELECTOR, "[data-item=m4] .title")
    assert card.text == "Alien"
    card.click()
    after = _until(browser, lambda: (cards := _cards(browser)) != before and cards)

    assert after[0] == "m5" and "m4" not in after
    assert "often follows “Alien”" in _text(browser, "[data-item=m5]")
    assert _text(browser, "[data-item=m5] .move").startswith("▲")
    assert "Alien" in _text(browser, "#session")
    (event,) = services.door.events
    assert (event["user_id"], event["item_id"], event["action"]) == ("ada", "m4", "click")
    shown = {impression["impression_id"]: impression["items"] for impression in services.door.impressions}
    assert "m4" in shown[event["impression_id"]]


def test_counters_quality_search_and_users(browser, address, services):
    browser.get(f"{address}/?user=ada")
    _until(browser, lambda: _cards(browser))
    _until(browser, lambda: "Events at the door" in _text(browser, "#numbers"))
    _until(browser, lambda: "0.2300" in _text(browser, "#quality") and "popular 7d" in _text(browser, "#quality"))
    assert services.host.version in _text(browser, "#status-text")
    assert _text(browser, "#intents [data-intent=familiarity] .chance") == "something new"

    browser.find_element(By.ID, "query").send_keys("story")
    browser.find_element(By.CSS_SELECTOR, "#search-form button").click()
    _until(browser, lambda: set(_cards(browser)) == {"m0", "m1", "m2"})

    name = browser.find_element(By.ID, "user")
    name.clear()
    name.send_keys("grace <b>")
    browser.find_element(By.CSS_SELECTOR, "#user-form button").click()
    _until(browser, lambda: _text(browser, "#list-title") == "For grace <b>")
    _until(browser, lambda: "ada" in _text(browser, "#recent"))
    browser.find_element(By.CSS_SELECTOR, "#recent button:last-child").click()
    _until(browser, lambda: _text(browser, "#list-title") == "For ada")


def test_quality_over_time_with_marks_of_versions_and_drift(browser, address, services):
    line, now_ms = services.board.timeline, services.clock_ms()
    for number in range(1, 6):
        rates = {"hr@10": 0.1 + number / 100, "popular_7d_hr@10": 0.07}
        line.note(_announced("published", number, now_ms - 60_000 * (6 - number), metrics=rates))
    line.note(_announced("refused", 6, now_ms - 30_000, reason="worse_than_serving"))
    line.note_drift("a1", {"time_ms": now_ms - 40_000, "kind": "alarm", "what": "loss rose", "state": "raised"})

    browser.get(f"{address}/?user=ada")
    _until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#chart .series path")) == 2)
    assert "served here 0.1500" in _text(browser, "#chart .legend") and "popular 7d 0.0700" in _text(browser, "#chart")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#chart .mark.published")) == 5
    assert len(browser.find_elements(By.CSS_SELECTOR, "#chart .mark.refused, #chart .mark.alarm")) == 2
    assert "worse_than_serving" in _text(browser, "#marks .refused") and "loss rose" in _text(browser, "#marks .alarm")

    line.note(_announced("published", 7, now_ms, metrics={"hr@10": 0.3}))
    _until(browser, lambda: "served here 0.3000" in _text(browser, "#chart .legend"))


def test_every_model_and_every_source_stand_side_by_side(browser, address, services):
    browser.get(f"{address}/?user=ada")
    columns = _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#compare .column"))
    names = [column.get_attribute("data-column") for column in columns]
    assert names[0] == "student" and {"transitions", "popularity"} < set(names)
    browser.find_element(By.CSS_SELECTOR, "[data-item=m4] .title").click()
    _until(browser, lambda: "Aliens" in _text(browser, "#compare [data-column=transitions]"))
    assert "Aliens" in _text(browser, "#compare [data-column=student] li.shared")


@pytest.mark.parametrize("path", ["/?user=ada", "/docs"])
def test_nothing_is_fetched_from_elsewhere_and_a_phone_fits(browser, address, path):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    browser.get(address + path)
    _until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".card, .route"))
    urls = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert urls and all(url.startswith(address) for url in urls)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []

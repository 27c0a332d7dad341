"""The explorers as a page: started as `make app` starts it, moved by the keyboard in a real browser.

Needs chromium and chromedriver; without them the test is skipped, or fails where DASHTHEORY_REQUIRE_BROWSER is
set. Screenshots are kept in build/app/, or in the folder that DASHTHEORY_APP_EVIDENCE names.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from dashtheory.explore.alpha_lambda import AlphaLambdaState
from dashtheory.explore.app import is_taken
from dashtheory.explore.discrete import DiscreteState
from dashtheory.explore.geometry import ShrinkState
from dashtheory.explore.state import Menu, Slider, controls
from dashtheory.explore.steps import StepState

ROOT = Path(__file__).parents[2]
STATES = (DiscreteState, AlphaLambdaState, AlphaLambdaState, AlphaLambdaState, StepState, ShrinkState)
"""Controls of the page's explorers, in order."""

START = 120.0  # seconds for all figures on a busy machine; the first takes less than five when quiet
PATIENCE = 20.0  # seconds for one redraw there; it takes a tenth of one when quiet

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),  # shared memory is scarce in containers
)
HARMLESS = (
    "favicon",  # a page on this machine has none
    "cdn.jsdelivr.net/npm/@fortawesome",  # voila's template asks for icons, of which the page has none
)
"""Errors of the console that are nothing to worry about."""


def browser_programs() -> tuple[str, str]:
    """Chromium and its driver; skips or fails without them."""
    found = (shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver"))
    if found[0] and found[1]:
        return found[0], found[1]
    reason = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
    if os.environ.get("DASHTHEORY_REQUIRE_BROWSER"):
        pytest.fail(f"{reason}, and DASHTHEORY_REQUIRE_BROWSER is set")
    pytest.skip(reason)


@contextmanager
def app() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The app on a free port, as `make app` starts it, and that port."""
    command = [sys.executable, "-m", "dashtheory.explore.app", "notebooks/explorers.ipynb"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            told = re.fullmatch(r"Open http://localhost:(\d+)/ in a browser; Ctrl-C ends it\.\n", line)
            assert told, line
            yield process, int(told[1])
        finally:
            if process.poll() is None:
                process.terminate()  # so that it ends voila and the kernel


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A new headless browser of 1280 x 900 pixels with an empty profile."""
    program, driver_program = browser_programs()
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Ask until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.05)


class Box:
    """One explorer of the page."""

    def __init__(self, driver: webdriver.Chrome, element: WebElement) -> None:
        self.driver, self.element = driver, element

    def image(self) -> tuple[str, str]:
        """Bytes and alternative text of the figure; read at once, as redrawing replaces the element."""
        script = "const i = arguments[0].querySelector('img.dashtheory-figure'); return [i.src, i.alt]"
        source, alt = self.driver.execute_script(script, self.element)
        return source, alt

    def words(self) -> str:
        """What stands below the figure."""
        return self.element.find_element(By.CSS_SELECTOR, ".dashtheory-text, .dashtheory-error").text

    def focus(self, control: str) -> None:
        """Put the keyboard on a control."""
        place = f".control-{control.replace('_', '-')} [role=slider], .control-{control} select"
        self.driver.execute_script("arguments[0].focus()", self.element.find_element(By.CSS_SELECTOR, place))

    def press(self, *keys: str) -> None:
        """Type."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_and_wait(self, *keys: str) -> tuple[str, str]:
        """Type, and wait until the alternative text is another one; the new image."""
        before = self.image()
        self.press(*keys)
        wait_for(lambda: self.image()[1] != before[1], f"a new alternative text after {keys!r} (was: {before[1]})")
        return self.image()


def check_keyboard_moves_every_control(box: Box, state: type) -> None:
    """Every slider answers to the arrow keys, and the first changes the figure's bytes."""
    before, start = box.image(), state()
    for name, what in controls(state).items():
        box.focus(name)
        if isinstance(what, Menu):
            continue  # see check_an_impossible_combination
        at_the_end = getattr(start, name) == what.high
        after = box.press_and_wait(Keys.ARROW_LEFT if at_the_end else Keys.ARROW_RIGHT)
        if name == next(iter(controls(state))):
            assert after[0] != before[0]
        assert after[0].startswith("data:image/png;base64,")
        assert after[1].split(" ")[0] in box.words()


def check_tab_order(box: Box, names: list[str]) -> None:
    """The Tab key meets the controls in the order in which they stand."""
    box.focus(names[0])
    script = "const c = document.activeElement.closest('[class*=control-]'); return c ? c.className : ''"
    met: list[str] = []
    for _ in range(3 * len(names)):
        told = re.search(r"control-([\w-]+)", box.driver.execute_script(script))
        name = told[1].replace("-", "_") if told else ""
        if name and name not in met:
            met.append(name)
        box.press(Keys.TAB)
    assert met[: len(names)] == names


def check_an_impossible_combination(box: Box) -> None:
    """A combination without an answer is one line in place of the figure, and goes away."""
    box.focus("distribution")
    _, alt = box.press_and_wait("uniform, r")
    assert alt.startswith("φ feature must be 0 with 'uniform, rich and poor samples'")
    wait_for(lambda: box.words() == alt, "the error below the figure")
    assert box.element.find_elements(By.CSS_SELECTOR, "[role=alert]")
    box.focus("phi_feature")
    _, alt = box.press_and_wait(Keys.HOME)
    assert alt.startswith("Four panels")
    assert not box.element.find_elements(By.CSS_SELECTOR, "[role=alert]")


def check_the_button_simulates(box: Box) -> None:
    """The button below the sliders draws dots."""
    assert "not simulated" in box.image()[1]
    button = box.element.find_element(By.CSS_SELECTOR, "button")
    box.driver.execute_script("arguments[0].focus()", button)
    _, alt = box.press_and_wait(Keys.SPACE)
    assert "Dots: a simulation of this state" in alt


def check_every_control_has_a_name(box: Box, state: type) -> None:
    """What a screen reader says of a slider is its label and its value, not rounded."""
    handles = box.element.find_elements(By.CSS_SELECTOR, "[role=slider]")
    sliders = {name: what for name, what in controls(state).items() if isinstance(what, Slider)}
    assert [one.accessible_name for one in handles] == [what.label for what in sliders.values()]
    for one, name in zip(handles, sliders, strict=True):
        assert one.get_attribute("aria-valuetext") == f"{getattr(state(), name):g}"
        assert one.get_attribute("aria-valuenow") == f"{getattr(state(), name):g}"
    for one in box.element.find_elements(By.CSS_SELECTOR, "select, button"):
        assert one.accessible_name


def check_focus_is_seen(driver: webdriver.Chrome) -> None:
    """Whatever the keyboard is on has a thick outline, inside the window."""
    unseen = driver.execute_script(
        "return [...document.querySelectorAll('.dashtheory-explorer [role=slider], .dashtheory-explorer select,"
        " .dashtheory-explorer button')].filter(e => { e.focus(); const s = getComputedStyle(e),"
        " r = e.getBoundingClientRect(); return s.outlineStyle !== 'solid' || parseFloat(s.outlineWidth) < 2"
        " || r.left < 3 || r.right > innerWidth - 3 }).map(e => e.className + e.textContent)"
    )
    assert unseen == []


def check_layout(driver: webdriver.Chrome, *, natural: bool = True) -> None:
    """Nothing is wider than the window, no code is shown, and no words of an explorer are small.

    Args:
        driver: at the page.
        natural: whether the window has room for figures as they were drawn.
    """
    wide = driver.execute_script(
        "return [document.documentElement, document.body, ...document.querySelectorAll("
        "'#rendered_cells, .dashtheory-explorer, .dashtheory-explorer .widget-label')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.tagName + '.' + e.className + e.textContent)"
    )
    assert wide == []  # a label that does not fit would be cut, too
    edges = driver.execute_script(
        "return [...document.querySelectorAll('img.dashtheory-figure')].map(i => i.getBoundingClientRect().right)"
    )
    assert max(edges) <= driver.execute_script("return document.documentElement.clientWidth")
    scales = driver.execute_script(
        "return [...document.querySelectorAll('img.dashtheory-figure')].map(i => i.clientWidth / i.naturalWidth)"
    )
    assert len(scales) == len(STATES)
    if natural:
        assert set(scales) == {1}  # not shrunk to fit: words in figures have the size that they were drawn in
    shown = driver.execute_script(
        "return [...document.querySelectorAll('.jp-InputArea-editor, .jp-InputPrompt, .jp-OutputPrompt')]"
        ".filter(e => e.offsetHeight && e.textContent.trim()).length"
    )
    assert shown == 0
    sizes = driver.execute_script(
        "return [...document.querySelectorAll('.dashtheory-explorer .widget-label, .dashtheory-text')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 11 * 96 / 72  # 11 points


def evidence() -> Path:
    """The folder of what is kept."""
    folder = Path(os.environ.get("DASHTHEORY_APP_EVIDENCE", ROOT / "build" / "app"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_evidence(driver: webdriver.Chrome) -> None:
    """Screenshots of what was tested: the window as it is, and the whole page."""
    folder = evidence()
    driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0); document.body.scrollTop = 0")
    driver.save_screenshot(str(folder / "window.png"))
    height = driver.execute_script(
        "return Math.max(...[...document.querySelectorAll('body, body *')].map(e => e.scrollHeight))"
    )
    driver.set_window_size(1280, height + 200)
    driver.save_screenshot(str(folder / "page.png"))
    driver.set_window_size(640, 900)
    driver.save_screenshot(str(folder / "zoomed.png"))
    driver.set_window_size(1280, 900)


def test_the_app_in_a_browser(tmp_path: Path) -> None:
    browser_programs()  # skips at once without them
    with app() as (process, port):
        with browser(tmp_path / "profile") as driver:
            start, figures = time.monotonic(), "img.dashtheory-figure"
            driver.get(f"http://localhost:{port}/")
            wait_for(lambda: bool(driver.find_elements(By.CSS_SELECTOR, figures)), "a first figure", START)
            first = time.monotonic() - start
            wait_for(
                lambda: len(driver.find_elements(By.CSS_SELECTOR, figures)) == len(STATES), "all figures", START
            )
            told = f"first figure after {first:.1f} s, all after {time.monotonic() - start:.1f} s\n"
            (evidence() / "times.txt").write_text(told)
            boxes = [Box(driver, one) for one in driver.find_elements(By.CSS_SELECTOR, ".dashtheory-explorer")]
            assert len(boxes) == len(STATES)
            assert driver.find_element(By.CSS_SELECTOR, "h1").text.startswith("Why warm-started networks")
            check_layout(driver)
            keep_evidence(driver)
            check_focus_is_seen(driver)
            for box, state in zip(boxes, STATES, strict=True):
                assert len(box.image()[1]) > 200
                check_every_control_has_a_name(box, state)
                check_keyboard_moves_every_control(box, state)
                check_tab_order(box, list(controls(state)))
            check_the_button_simulates(boxes[0])
            check_an_impossible_combination(boxes[0])
            check_layout(driver)
            driver.set_window_size(640, 900)  # a window of 1280 pixels at 200%
            check_layout(driver, natural=False)
            check_focus_is_seen(driver)
            log = driver.get_log("browser")  # type: ignore[no-untyped-call]
            severe = [one["message"] for one in log if one["level"] == "SEVERE"]
            assert [one for one in severe if not any(word in one for word in HARMLESS)] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert not is_taken(port)


@pytest.mark.parametrize("required", [False, True])
def test_without_a_browser_the_test_is_skipped_or_fails_where_one_is_required(
    required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.delenv("DASHTHEORY_REQUIRE_BROWSER", raising=False)
    if required:
        monkeypatch.setenv("DASHTHEORY_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception if required else pytest.skip.Exception, match="needs chromium"):
        browser_programs()

"""The page in a real Chromium: drop an image, see progress, read the verdict, take the report."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 240_000  # ms; a busy machine is no failure
TOKEN = "a token of the browser test"  # noqa: S105 (of the test only)
DROP = """
([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(event);
}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("playwright.sync_api"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # playwright's own transports
]


@pytest.fixture
def service(case_file, tmp_path):
    """The real command with the real worker; its address."""
    command = [sys.executable, "-m", "wherefrom", "-q", "serve", "--with", str(case_file)]
    command += ["--port", "0", "--data", str(tmp_path / "data"), "--device", "cpu"]
    environment = {**os.environ, "WHEREFROM_TOKEN": TOKEN}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    yield address
    process.terminate()
    process.wait(60)
    process.stdout.close()


def shoot(page, name):
    """A picture of the page in the folder that WHEREFROM_SCREENSHOTS names, where it is set."""
    target = os.environ.get("WHEREFROM_SCREENSHOTS")
    if target:
        page.wait_for_timeout(300)
        page.screenshot(path=f"{target}/{name}.png", full_page=True)


def test_a_person_drops_an_image_and_reads_the_report__closed_form(service, world, tmp_path):
    image = world.photos / "003.png"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(accept_downloads=True, viewport={"width": 1000, "height": 1150})
        page.set_default_timeout(PATIENCE)
        problems, elsewhere = [], []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: r.url.startswith((service, "data:", "blob:")) or elsewhere.append(r.url),
        )
        page.goto(service)
        page.fill("#token", "this is not the token")
        page.press("#token", "Enter")
        page.wait_for_function("document.getElementById('about').textContent.includes('not the')")
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.wait_for_selector("#drop", state="visible")
        page.evaluate(DROP, ["a <b>suspect<i>.png", list(image.read_bytes())])
        card, detail = page.locator(".job").first, page.locator(".detail").first
        card.wait_for()
        assert card.locator(".name").inner_text() == "a <b>suspect<i>.png"
        steps = set()
        end = time.monotonic() + PATIENCE / 1000
        while card.get_attribute("data-state") not in ("done", "failed"):
            steps.add(card.locator(".step").inner_text())
            assert time.monotonic() < end
            time.sleep(0.05)
        assert steps - {""}, "no progress was seen"
        card.locator("[data-label='made from'] .badge").click()
        assert detail.locator("h3").all_inner_texts() == ["Was it made from one of my images?"]
        told = detail.locator(".answers").inner_text()
        assert "Copy of" in told
        assert "the same file" in told
        assert str(world.folder) not in told
        detail.locator(".strip img").first.wait_for()
        assert str(world.folder) not in detail.inner_text()
        with page.expect_download() as found:
            detail.locator(".json").click()
        saved = tmp_path / "inspection.json"
        found.value.save_as(saved)
        assert json.loads(saved.read_text())["image"]["name"] == "a <b>suspect<i>.png"
        assert str(world.folder) not in saved.read_text()
        with page.expect_popup() as opened:
            detail.locator(".open").click()
        report = opened.value
        report.wait_for_load_state()
        assert report.locator("h1").inner_text().startswith("What is known of a <b>suspect<i>")
        assert report.locator("img").count() >= 3
        shown = report.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
        assert shown, "a picture of the report is not shown"
        assert str(world.folder) not in report.content()
        page.set_input_files("#file", [str(world.own / f"{n}.png") for n in (0, 1)])
        page.locator(".job[data-state=done]").nth(2).wait_for()
        found_there = page.locator("[data-label='made from'] .tone.found").count()
        page.select_option("#question", "origin")
        page.select_option("#state", "found")
        assert page.locator(".job").count() == found_there > 0
        page.fill("#search", "SUSPECT")
        assert page.locator(".job").count() == 1
        assert "state=found" in page.locator("#exports a").last.get_attribute("href")
        page.select_option("#state", "")
        page.fill("#search", "")
        page.click("[data-sort=name]")
        names = page.locator(".name").all_inner_texts()
        assert names == ["0.png", "1.png", "a <b>suspect<i>.png"]
        for n in (0, 2):
            page.locator(".pick input").nth(n).check()
        page.click("#compare")
        page.locator("#comparison img").nth(1).wait_for()
        shoot(page, "compare")
        page.keyboard.press("Escape")
        link = page.locator(".link").nth(2).get_attribute("href")
        page.goto(f"{service}/{link}")
        page.reload()  # the history is still there, and the link opens its image
        page.locator(".job").nth(2).wait_for()
        page.locator(".detail:not([hidden]) .strip img").first.wait_for()
        for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, "the page is wider than the screen"
            shoot(page, "service" if (scheme, width) == ("light", 1200) else f"{scheme}-{width}")
        page.locator(".name", has_text="0.png").click()
        delete = page.locator(".detail:not([hidden]) .delete").first
        delete.click()
        delete.click()
        page.locator(".job").nth(2).wait_for(state="detached")
        report.set_viewport_size({"width": 1000, "height": 1400})
        shoot(report, "report")
        browser.close()
    assert problems == []
    assert elsewhere == []


def test_everything_can_be_reached_with_the_keyboard__closed_form(service):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(service)
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.wait_for_selector("#drop", state="visible")
        page.evaluate(DROP, ["x.png", [1, 2, 3]])
        page.wait_for_selector('.job[data-state="failed"]')
        assert "x.png: is not an image" in page.locator(".job .error").inner_text()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.className") == "name"
        page.keyboard.press("Enter")
        page.locator(".detail:not([hidden])").wait_for()
        page.keyboard.press("Escape")
        assert page.locator(".detail:not([hidden])").count() == 0
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"
        page.locator("#token").evaluate("element => element.focus()")
        page.evaluate("document.activeElement.blur()")
        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.href"))
        assert {"file", "folder", "search", "question", "state"} <= set(seen)
        assert any(str(name).endswith("openapi.json") for name in seen)
        browser.close()

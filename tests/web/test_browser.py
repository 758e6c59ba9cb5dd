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
        card = page.locator(".job").first
        card.wait_for()
        assert card.locator("h3").inner_text() == "a <b>suspect<i>.png"
        steps = set()
        end = time.monotonic() + PATIENCE / 1000
        while card.get_attribute("data-state") not in ("done", "failed"):
            steps.add(card.locator(".step").inner_text())
            assert time.monotonic() < end
            time.sleep(0.05)
        assert steps - {""}, "no progress was seen"
        told = card.locator(".answers").inner_text()
        assert "Copy of" in told
        assert "the same file" in told
        with page.expect_download() as found:
            card.locator(".json").click()
        saved = tmp_path / "inspection.json"
        found.value.save_as(saved)
        assert json.loads(saved.read_text())["image"]["name"] == "a <b>suspect<i>.png"
        with page.expect_popup() as opened:
            card.locator(".open").click()
        report = opened.value
        report.wait_for_load_state()
        assert report.locator("h1").inner_text().startswith("What is known of a <b>suspect<i>")
        assert report.locator("img").count() >= 3
        shown = report.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
        assert shown, "a picture of the report is not shown"
        page.set_input_files("#file", str(world.own / "0.png"))  # the other way in
        page.wait_for_selector(".job:nth-child(2)")
        page.wait_for_selector('.job:first-child[data-state="done"]')
        assert page.locator(".job").count() == 2
        page.reload()
        page.wait_for_selector(".job:nth-child(2)")  # the history is still there
        target = os.environ.get("WHEREFROM_SCREENSHOTS")
        if target:
            page.wait_for_timeout(500)
            page.screenshot(path=f"{target}/service.png", full_page=True)
            report.set_viewport_size({"width": 1000, "height": 1400})
            report.screenshot(path=f"{target}/report.png", full_page=True)
            report.pdf(path=f"{target}/report.pdf")
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
        seen = []
        for _ in range(6):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.href"))
        assert "file" in seen
        assert any(str(name).endswith("openapi.json") for name in seen)
        browser.close()

"""llmframe in a real JupyterLab in a real Chromium: what a user sees there, in the light and in the dark theme.

`python tests/browser/check.py [--pictures FOLDER]`, in an environment with llmframe's `notebook` extra, jupyterlab and
playwright, and with a Chromium on the path. It exits with the number of checks that failed.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

from llmframe._run.card import BLUE, GREEN, GREY, RED
from llmframe.testing import Fault, LocalServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

KEYWORDS = (
    "overwrite=",
    "into=",
    "overwrite=",
    "error_into=",
    "where=",
    "max_concurrency=",
    "requests_per_minute=",
    "temperature=",
)
"""What Tab offers in `df.llm.complete(`."""
SECONDS = 60
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
THEMES = ("JupyterLab Light", "JupyterLab Dark")

SETUP = """\
import pandas as pd, llmframe
llmframe.options.base_url, llmframe.options.api_key = {address!r}, "any"
llmframe.options.model, llmframe.options.journal = "gpt-6-luna", "journal.sqlite"
llmframe.options.max_concurrency = 60
df = pd.DataFrame({{"review": [f"review {{i}}" for i in range(285)] + [None] * 15}})
print("ready")"""
CELLS = (
    'df.head(20).llm.complete("review", into="answer");',
    'df.llm.complete("review", into="answer");',
    "llmframe.last_run()",
    "df.llm",
    'df["gist"] = None; df.loc[299, "review"] = "late"; df.llm.complete("review", "In five words: {review}", into="gist", overwrite=True)',
    "llmframe.last_run()",
    "llmframe.last_run().plot()",
    'df.llm.complete("reviw")',
)
FAIL = (CELLS[4], CELLS[7])
"""In one rows fail, the other has a wrong argument."""
STDERR = "[data-mime-type='application/vnd.jupyter.stderr']"

failed: list[str] = []


def check(what: str, *, holds: bool, found: Any = "") -> None:
    print(f"{'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {found!r}'}", flush=True)
    if not holds:
        failed.append(what)


@contextmanager
def jupyterlab(folder: Path, theme: str, token: str) -> Iterator[str]:
    """Run a JupyterLab of its own on loopback; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, text in {
        "apputils-extension/themes": f'{{"theme": "{theme}"}}',
        "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
        "notebook-extension/tracker": '{"windowingMode": "none"}',  # cells out of sight stay on the page
    }.items():
        settings = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(text, encoding="utf-8")
    own = {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_TOKEN": token,
        "IPYTHONDIR": str(folder / "ipython"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
        f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    log = folder / "jupyterlab.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def run_cell(page: Page, number: int) -> None:
    """Run a cell and wait for its end."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "number => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-Notebook .jp-CodeCell')[number]"
        ".querySelector('.jp-InputArea-prompt').textContent)",
        arg=number,
        timeout=SECONDS * 1000,
    )
    page.wait_for_timeout(400)


def outputs(page: Page, number: int) -> Any:
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-OutputArea-output")


def shade(colour: str) -> str:
    """Return `#rrggbb` as a browser computes it."""
    return f"rgb({', '.join(str(int(colour[start : start + 2], 16)) for start in (1, 3, 5))})"


COLOURS = """element => {
  const all = [element, ...element.querySelectorAll('*')];
  let ground = element;
  const clear = node => /rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(node).backgroundColor);
  while (ground.parentElement && clear(ground)) ground = ground.parentElement;
  return {fills: all.map(node => getComputedStyle(node).backgroundColor),
          text: getComputedStyle(element).color, ground: getComputedStyle(ground).backgroundColor};
}"""


def contrast(one: str, other: str) -> float:
    """Return the contrast of two computed colours, as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def check_card(page: Page, number: int, theme: str, *fills: str) -> None:
    """Check that a card has these colours, and that text and colours can be read on the theme's ground."""
    colours = (
        outputs(page, number)
        .locator("div[style*='border-radius:6px'], div[style*='border-radius: 6px']")
        .first.evaluate(COLOURS)
    )
    for fill in fills:
        check(
            f"{theme}: the card of cell {number} has {fill}",
            holds=shade(fill) in colours["fills"],
            found=colours,
        )
        ratio = contrast(shade(fill), colours["ground"])
        check(f"{theme}: {fill} stands out from the ground", holds=ratio >= 3, found=ratio)
    ratio = contrast(colours["text"], colours["ground"])
    check(
        f"{theme}: the card's text can be read",
        holds=ratio >= 4.5,
        found=(ratio, colours["text"], colours["ground"]),
    )


def walk(page: Page, theme: str, server: LocalServer, pictures: Path) -> None:
    """Run the cells one by one, and look."""
    name = theme.rpartition(" ")[2].lower()
    for number in range(len(CELLS) + 1):
        server.faults = []
        if "gist" in CELLS[number - 1]:
            server.faults = [
                Fault("context_length_exceeded", when=lambda body: "words: review 7" in str(body)),
                Fault("refusal", when=lambda body: "words: review 11" in str(body)),
            ]
        run_cell(page, number)
    said = [outputs(page, number).all_inner_texts() for number in range(len(CELLS) + 1)]
    check(f"{theme}: the setup ran", holds=[text.strip() for text in said[0]] == ["ready"], found=said[0])
    for number, code in enumerate(CELLS, 1):
        pink = outputs(page, number).and_(page.locator(STDERR))
        errors = 1 if code in FAIL else 0  # JupyterLab marks tracebacks as it does stderr
        found = pink.all_inner_texts()
        check(f"{theme}: cell {number} shows {errors} pink boxes", holds=len(found) == errors, found=found)
    first = [text for text in said[1] if re.match(r"20 rows answered · \$[\d.]+ · [\d.]+ s$", text)]
    check(f"{theme}: the closing line of twenty rows", holds=len(first) == 1, found=said[1])
    line = r"285 rows answered, 15 not sent \(review missing\): 265 asked now, 20 from the journal · \$[\d.]+ · [\d.]+ s$"
    check(f"{theme}: the closing line", holds=bool(re.match(line, said[2][-1])), found=said[2])
    check(f"{theme}: the bar keeps its end, of what was sent", holds="265/265" in said[2][0], found=said[2])
    check_card(page, 3, theme, GREEN, BLUE, GREY)
    check(f"{theme}: the card says that all went well", holds="✓ done" in said[3][0], found=said[3])
    check(
        f"{theme}: the accessor says what it can do", holds="df.llm.complete(…)" in said[4][0], found=said[4]
    )
    bar = outputs(page, 5).first.evaluate(COLOURS)["fills"]
    check(f"{theme}: the bar is red where rows failed", holds=shade(RED) in bar, found=bar)
    check(f"{theme}: an error ends at the cell", holds="llmframe/" not in said[5][-1], found=said[5][-1])
    check_card(page, 6, theme, GREEN, RED, GREY)
    check(
        f"{theme}: the card names causes and remedies",
        holds="context_length_exceeded" in said[6][0] and "→" in said[6][0],
        found=said[6],
    )
    check(f"{theme}: a plot", holds=outputs(page, 7).locator("img").count() == 1, found=said[7])
    wrong = said[8][-1]
    check(
        f"{theme}: a wrong argument is told at the cell",
        holds="the nearest is 'review'" in wrong and "llmframe/" not in wrong,
        found=wrong,
    )
    for number in range(1, len(CELLS) + 1):
        page.locator(".jp-Notebook .jp-CodeCell").nth(number).screenshot(
            path=pictures / f"{name}-{number}.png"
        )


def check_completer(page: Page, pictures: Path) -> None:
    """Type `df.llm.complete(` into a new cell, press Tab, and read the list."""
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type("df.llm.comp")
    page.keyboard.press("Tab")  # the first completion takes long
    page.wait_for_function(
        "() => document.querySelector('.jp-mod-active .cm-content').textContent.includes('complete')"
        " || document.querySelector('.jp-Completer .jp-Completer-item')",
        timeout=SECONDS * 1000,
    )
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    for keyword in KEYWORDS:
        offered: list[str] = []
        for _ in range(3):  # a busy kernel may answer too late for one keystroke
            offered = offered_for(page, keyword[:-2], pictures)
            if any(keyword in text for text in offered):
                break
        check(f"Tab offers {keyword}", holds=any(keyword in text for text in offered), found=offered[:12])


def offered_for(page: Page, beginning: str, pictures: Path) -> list[str]:
    """Press Tab after the beginning of a keyword; return what is listed, and the cell's text."""
    page.keyboard.press("Control+a")
    page.keyboard.type(f"df.llm.complete({beginning}")
    page.keyboard.press("Tab")
    offered = []
    with suppress(PlaywrightTimeout):  # a single match is filled in without a list
        page.wait_for_selector(".jp-Completer .jp-Completer-item", timeout=5_000)
        page.wait_for_timeout(300)
        offered = page.locator(".jp-Completer-item .jp-Completer-match").all_inner_texts()
        page.screenshot(path=pictures / f"completer-{beginning}.png")
    offered += page.locator(".jp-Notebook .jp-CodeCell.jp-mod-active .cm-content").all_inner_texts()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    return offered


def check_saved(page: Page, notebook: Path) -> None:
    """Save the notebook, and read how it keeps the bar."""
    page.keyboard.press("Control+s")
    page.wait_for_timeout(3_000)
    saved = nbformat.read(notebook, as_version=4)
    outputs = [output for cell in saved.cells for output in cell.get("outputs", [])]
    texts = [str(output.get("data", {}).get("text/plain", "")) for output in outputs]
    check(
        "the saved notebook keeps the finished bar",
        holds=any("265/265" in text for text in texts),
        found=texts,
    )
    check(
        "the saved notebook has no widgets", holds="widget-view" not in notebook.read_text(encoding="utf-8")
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="where screenshots are kept")
    pictures = parser.parse_args().pictures
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        print(f"no Chromium here: none of {', '.join(CHROMIUMS)} is on the path")
        return 0
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        pictures = pictures or Path(made) / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            folder = Path(made) / theme.replace(" ", "")
            folder.mkdir()
            token = secrets.token_hex(16)
            with LocalServer(latency=0.1) as server, jupyterlab(folder, theme, token) as address:
                cells = [SETUP.format(address=server.base_url), *CELLS]
                book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells])
                book.metadata.kernelspec = {
                    "name": "python3",
                    "display_name": "Python 3",
                    "language": "python",
                }
                nbformat.write(book, folder / "book.ipynb")
                page = browser.new_page(viewport={"width": 1200, "height": 900})
                page.goto(f"{address}/lab/tree/book.ipynb?token={token}")
                page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=SECONDS * 1000)
                page.wait_for_selector("text='Python 3 (ipykernel) | Idle'", timeout=SECONDS * 1000)
                try:
                    walk(page, theme, server, pictures)
                except Exception:
                    page.screenshot(path=pictures / "failed.png")
                    raise
                if theme == THEMES[-1]:
                    check_completer(page, pictures)
                    check_saved(page, folder / "book.ipynb")
                page.close()
        browser.close()
    print(f"{len(failed)} checks failed" if failed else "all checks hold")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

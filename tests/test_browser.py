"""JupyterLab in a real browser: 05_explore runs, its charts are drawn, and nothing leaves this machine.

With SCREENER_SCREENSHOTS=FOLDER the parts of the notebook are kept there as pictures.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, sync_playwright
from sqlalchemy import URL

ROOT = Path(__file__).resolve().parents[1]
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    await app.commands.execute('notebook:run-all-cells');
    return panel.content.model.toJSON().cells.map(cell => cell.outputs || []);
}"""


@pytest.fixture(scope="module")
def lab(year_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab as `screener-data lab` starts it, on a loaded database."""
    place = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "SCREENER_DATABASE_URL": year_url.render_as_string(hide_password=False),
        "HOME": str(place),
        **{f"JUPYTER{kind}_DIR": str(place / kind) for kind in ("_CONFIG", "_DATA", "_RUNTIME", "LAB_WORKSPACES")},
    }
    shutil.copytree(ROOT / "notebooks", place / "notebooks")  # JupyterLab saves what it runs
    shutil.copy(ROOT / "alembic.ini", place)  # it marks the workspace
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--IdentityProvider.token=t0ken", "--LabApp.expose_app_in_browser=True"]
    command = [Path(sys.executable).with_name("screener-data"), "lab", *options]
    talk = place / "talk"
    with (
        talk.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=place) as lab,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 60
            while not _answers(f"{address}/api?token=t0ken"):
                assert lab.poll() is None and time.monotonic() < deadline, talk.read_text()  # noqa: PT018
                time.sleep(0.1)
            yield address
        finally:
            lab.send_signal(signal.SIGTERM)
            lab.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # tall, since JupyterLab leaves out what would have to be scrolled to
        yield browser.new_page(viewport={"width": 1280, "height": 8000})
        browser.close()


def test_05_explore_draws_in_jupyterlab_and_needs_no_network(lab: str, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(_place(request)))
    page.goto(f"{lab}/lab/workspaces/ci/tree/notebooks/05_explore.ipynb?reset&token=t0ken")
    page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.currentWidget?.context", timeout=60_000)
    outputs = [output for cell in page.evaluate(RUN_ALL) for output in cell]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    charts = [output for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(charts) >= 3
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {len(charts)}")
    drawn = page.locator(".js-plotly-plot")
    assert drawn.count() == len(charts)
    assert page.locator(".js-plotly-plot path.box").count() >= 100  # the candles
    assert page.locator(".jp-OutputArea-output table").count() >= 3
    assert set(asked) == {urlsplit(lab).netloc}
    if folder := os.environ.get("SCREENER_SCREENSHOTS"):
        shown = [output for output in page.locator(".jp-OutputArea-output").all() if output.is_visible()]
        for number, output in enumerate(shown):
            output.screenshot(path=Path(folder) / f"explore-{number}.png")


def _place(request: Request) -> str:
    """Where a request goes: nowhere, for what the page holds itself."""
    parts = urlsplit(request.url)
    return parts.netloc if parts.scheme not in {"data", "blob"} else urlsplit(request.frame.url).netloc

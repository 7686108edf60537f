"""A headless Chromium for the tests of pages, where one is installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-device-scale-factor=1 --window-size=1400,1000"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A driven browser; the test is skipped, saying so, where chromium or selenium is missing."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium here: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in [*_QUIET.split(), f"--user-data-dir={profile}"]:
            options.add_argument(argument)
        browser = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
        try:
            yield browser
        finally:
            browser.quit()

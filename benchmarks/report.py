"""Size of a run's report and the time it takes to open, in headless Chromium:

    python -m benchmarks.report runs/kahramanmaras/products/report.html

Milliseconds count from the navigation to the load event, when pictures are decoded and all scripts have run. Processor time is
the browser's, all its processes, less that of an empty page: it tells the same on a busy machine.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

_CLOCK = """<script>
const wrong = []; addEventListener("error", e => wrong.push(e.message)); console.error = (...a) => wrong.push(a.join(" "));
addEventListener("load", () => { document.documentElement.dataset.opened = performance.now() + " " + wrong.length; });
</script>"""


class Look(NamedTuple):
    """Wall milliseconds until a page is there, processor milliseconds of the browser, and the page's errors."""

    wall: float
    cpu: float
    errors: int


def opened(page: str, browser: str) -> Look:
    with TemporaryDirectory(prefix="rsmvs-") as folder:
        timed = Path(folder) / "report.html"
        timed.write_text(page.replace("<head>", "<head>" + _CLOCK, 1))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                   "--window-size=1200,900", "--dump-dom", f"file://{timed}"]  # fmt: skip
        before = _children()
        shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
        cpu = _children() - before
    found = re.search(r'data-opened="([\d.]+) (\d+)"', shown)
    if not found:
        raise SystemExit("the page was not loaded")
    return Look(float(found[1]), 1000 * cpu, int(found[2]))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="*", type=Path, help="report.html of finished runs; those under runs/ when absent")
    parser.add_argument("--times", type=int, default=5, help="how often each is opened")
    args = parser.parse_args()
    browser = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if browser is None:
        raise SystemExit("no headless browser (apt package chromium)")
    empty = min(opened("<!doctype html><html><head></head></html>", browser).cpu for _ in range(args.times))
    print("| report | MB | ms to open, least of", args.times, "| processor ms | errors |")
    print("|---|---|---|---|---|")
    for page in args.report or sorted(Path("runs").glob("*/products/report.html")):
        looks = [opened(page.read_text(), browser) for _ in range(args.times)]
        wall, cpu, errors = min(k.wall for k in looks), min(k.cpu for k in looks) - empty, max(k.errors for k in looks)
        print(f"| {page.parts[-3]} | {page.stat().st_size / 1e6:.1f} | {wall:.0f} | {cpu:.0f} | {errors} |")


if __name__ == "__main__":
    main()

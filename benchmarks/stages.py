"""Memory and processor time of the jobs of finished runs, from their logs, against the model that jobs are asked for by.

    python -m benchmarks.stages CONFIG [CONFIG ...]      configurations whose runs are finished
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rsmvs.config import load_config, tiles
from rsmvs.io.timings import read_timings
from rsmvs.io.views import read_views
from rsmvs.resources import memory_mb, need_of, size_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    print("| run | stage | jobs | CPU s a job | model | MB, largest | model | asked for |")
    print("|---|---|---|---|---|---|---|---|")
    for path in parser.parse_args().configs:
        config = load_config(path)
        run = Path(config.output)
        size = size_of(config, len(tiles(config)), min(v.gsd for v in read_views(run / "views.json")))
        for row in read_timings(run / "logs"):
            need, each = need_of(row["stage"], size), row["cpu_seconds"] / row["jobs"]
            print(f"| {Path(path).stem} | {row['stage']} | {row['jobs']} | {each:.1f} | {need.time:.0f} "
                  f"| {row['peak_mb']:.0f} | {need.memory:.0f} | {memory_mb(row['stage'], size, 1)} |")  # fmt: skip


if __name__ == "__main__":
    main()

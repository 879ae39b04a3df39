"""Sixteen random scenes as one picture: what the simulator's places look like.

python benchmarks/contact_sheet.py [--out docs/images/simulated_scenes.png] [--first-seed 0] [--size 288]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from rsmvs.simulate.samples import SampleOptions, training_sample
from rsmvs.simulate.styles import STYLES

_SIDE = 4


def stretched(bands: np.ndarray) -> np.ndarray:
    """(c, h, w) digital numbers to (h, w, 3) bytes, blue first: dark-object subtraction a band, one gain, a mild gamma."""
    values = bands[::-1].astype(np.float32)
    dark = np.percentile(values.reshape(3, -1), 0.5, axis=1)[:, None, None] * 0.92
    bright = np.percentile(values - dark, 99.3)
    return (np.clip((values - dark) / bright, 0, 1) ** 0.75 * 255).astype(np.uint8).transpose(1, 2, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/simulated_scenes.png"))
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=288)
    args = parser.parse_args()
    names = [*sorted(STYLES), *["random"] * _SIDE**2][: _SIDE**2]
    pictures = []
    for k, style in enumerate(names):
        options = SampleOptions(width=args.size, height=args.size, views=2, bands="rgb", style=style)
        picture = stretched(training_sample(args.first_seed + k, options).views[0].bands)
        pictures.append(np.pad(picture, ((2, 2), (2, 2), (0, 0)), constant_values=255))
    sheet = np.vstack([np.hstack(pictures[k : k + _SIDE]) for k in range(0, _SIDE**2, _SIDE)])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), sheet)


if __name__ == "__main__":
    main()

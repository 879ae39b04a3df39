"""Do several views label a point better than one? Labels of the references against their vote, on a scene with true classes.

    python benchmarks/votes.py CONFIG WEIGHTS OUT

CONFIG has `reference.classes`; WEIGHTS are of mvsr3d or mvsam. Cameras are taken as they are. Judged are the pixels of all
references whose height another view confirms, at the ground cell of that height: once with the label that the reference
itself gives, once with the vote of all views that agree.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from rsmvs.config import load_config
from rsmvs.evaluation.metrics import ClassErrors
from rsmvs.geometry.ground import map_projection
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.raster import opened
from rsmvs.options import HeightsOptions, LearnedOptions
from rsmvs.stages.classes import class_probabilities
from rsmvs.stages.heights import filter_heights, predict_heights
from rsmvs.stages.tile import read_layers, read_plan
from rsmvs.stages.views import index_views, select_views
from rsmvs.types import CLASS_CODES, CLASS_NAMES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    config = load_config(args.config)
    area, out = config.area, args.out
    index_views(config.images, area, out / "views.json")
    select_views(out / "views.json", area, config.select, replace(config.reference, dem=None), out / "plan.json")
    options = HeightsOptions(model="mvsr3d", learned=LearnedOptions(weights=args.weights, threads=1))
    with opened(config.reference.classes) as src:
        truth, place = src.read(1), ~src.transform
    project, codes = map_projection(area.crs), np.array(CLASS_CODES)
    scores = {name: ClassErrors(CLASS_CODES) for name in ("one view", "vote")}
    for plan_file in sorted(out.glob("tiles/*/plan.json")):
        heights, consistent = (plan_file.parent / name / "index.json" for name in ("heights", "consistent"))
        predict_heights(plan_file, area, options, heights)
        filter_heights(heights, plan_file, config.filter, consistent)
        plan = read_plan(plan_file)
        for layer in read_layers(consistent, plan)[2]:
            own = class_probabilities(layer)
            assert own is not None
            row, col = np.nonzero((layer.bands["confirmed"] > 0) & np.isfinite(own).all(0) & (layer.bands["class_votes"] > 1))
            field = build_warp_field(layer.view.camera, project, layer.window, plan.height_range, 0.05)
            x, y = field(col + layer.window.col, row + layer.window.row, layer.bands["height"][row, col])
            j, i = (np.floor(v).astype(int) for v in place * (x, y))
            seen = (i >= 0) & (i < truth.shape[0]) & (j >= 0) & (j < truth.shape[1])
            row, col, true = row[seen], col[seen], truth[i[seen], j[seen]]
            scores["one view"].feed(codes[own[:, row, col].argmax(0)], true)
            scores["vote"].feed(codes[layer.bands["class"][row, col].astype(int)], true)
    for name, errors in scores.items():
        found = errors.result(heights=False)
        iou = dict(zip(CLASS_NAMES, found["iou"], strict=True))
        three = [iou[name] or 0.0 for name in ("ground", "foliage", "building")]
        print(f"{name:10} mIoU {found['miou']:6.2f}  mean F1 {found['mean_f1']:6.2f}  accuracy {found['accuracy']:6.2f}"
              f"  IoU of ground, foliage, building {three}, mean {sum(three) / 3:.2f}")


if __name__ == "__main__":
    main()

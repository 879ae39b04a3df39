"""All matchers on all scenes with a truth: errors, errors at building edges, classes, CPU seconds, memory.

    python benchmarks/accuracy.py [--scenes autzen,autzen_six,autzen_biased,demo] [--matchers sgm,refined,mvsr3d] [--cores 2]

autzen: three views; autzen_six: all of one date; autzen_biased: three views whose RPCs are wrong, so that the adjustment
counts. All but `sgm` are refined by the default network. 'edge' is the RMSE and PAG 1 m of the cells within 2 m of a
building's outline. Errors after the shift alignment. Of classes: IoU of ground, foliage and building and their mean, over
all cells with a true class; mIoU3_2.5 of all classes. Scenes whose images are not there, and matchers whose weights are
not, are left out and named.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio

from rsmvs.config import as_dict, load_config
from rsmvs.errors import RsmvsError
from rsmvs.io.weights import find_weights
from rsmvs.options import ReferenceOptions
from rsmvs.stages.evaluation import evaluate
from runs import ROOT, run_in

SCENES = {"autzen": "autzen.yaml", "autzen_six": "autzen_six.yaml", "autzen_biased": "autzen.yaml", "demo": "demo.yaml"}
MATCHERS: dict[str, dict[str, Any]] = {
    "sgm": {"fuse": {"refine": {"weights": "none"}}},
    "refined": {"fuse": {"refine": {"weights": "ground-small"}}},
    "mvsr3d": {"heights": {"model": "mvsr3d"}},
    "red": {"heights": {"model": "red"}},
    "red_rdm": {"heights": {"model": "red", "rdm": True}},
}
WEIGHTS = {"refined": "ground-small", "mvsr3d": "mvsr3d-tiny", "red": "red-small", "red_rdm": "red-small-rdm"}
BUILDING, EDGE = 6, 64  # LAS codes; 64 is the first that users may define
JUDGED = {"ground": 2, "foliage": 5, "building": 6}
EDGE_REACH = 2.0  # m


def scene_config(name: str) -> dict[str, Any] | None:
    values = as_dict(load_config(ROOT / "config" / SCENES[name]))
    if name.endswith("_biased"):
        for image in values["images"]:
            image["path"] = image["path"].replace("/images/", "/images_biased/")
    classes = [Path(values["reference"]["dsm"]).parent / f for f in ("class.tif", "classes.tif")]
    values["reference"]["classes"] = next((str(p) for p in classes if p.is_file()), None)
    return values if all(Path(i["path"]).is_file() for i in values["images"]) else None


def edges(classes: str, out: Path) -> Path:
    """A class map that knows cells near a building's outline, and all others as no data."""
    with rasterio.open(classes) as src:
        building = (src.read(1) == BUILDING).astype(np.uint8)
        reach = max(round(EDGE_REACH / src.res[0]), 1)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
        near = cv2.dilate(building, kernel) > cv2.erode(building, kernel)
        profile = {**src.profile, "dtype": "uint8", "count": 1, "nodata": 0}
        with rasterio.open(out, "w", **profile) as dst:
            dst.write(np.where(near, EDGE, 0).astype(np.uint8), 1)
    return out


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {**values, **{k: merged(values[k], v) if isinstance(v, dict) else v for k, v in changes.items()}}


def figures(values: dict[str, Any], matcher: str, cores: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        cost = run_in(Path(folder), merged(values, MATCHERS[matcher]), cores)
        products, reference = Path(folder) / "out" / "products", values["reference"]
        found = evaluate(products / "dsm.tif", ReferenceOptions(dsm=reference["dsm"]))["aligned"]
        edge, classes = "", ""
        if reference["classes"]:
            near = edges(reference["classes"], Path(folder) / "edges.tif")
            at = evaluate(products / "dsm.tif", ReferenceOptions(dsm=reference["dsm"], classes=str(near)))["by_class"]
            edge = f"{at[str(EDGE)]['rmse']:10.2f} {at[str(EDGE)]['pag_1.0']:10.1f}"
            if (products / "semantic.tif").is_file():
                seen = evaluate(products / "dsm.tif", ReferenceOptions(dsm=reference["dsm"], classes=reference["classes"]),
                                classes=products / "semantic.tif")["classes"]
                iou = [seen["iou"][seen["classes"].index(code)] for code in JUDGED.values()]
                told = ", ".join(f"{name} {value:.1f}" for name, value in zip(JUDGED, iou, strict=True))
                classes = f"  IoU {told}, mean {np.mean(iou):.1f}; mIoU3_2.5 {seen['miou3_2.5']['lenient']:.1f}"
    return (f"{found['rmse']:7.2f} {found['pag_1.0']:7.1f} {found['pag_2.5']:7.1f} {found['completeness']:7.1f} {edge:>21}"
            f" {cost['cpu']:7.0f} {cost['peak']:8.0f}{classes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--matchers", default=",".join(MATCHERS))
    parser.add_argument("--cores", default="2")
    args = parser.parse_args()
    print(f"{'scene':14} {'matcher':8} {'RMSE m':>7} {'PAG 1':>7} {'PAG 2.5':>7} {'compl.':>7} {'edge RMSE':>10} "
          f"{'edge PAG 1':>10} {'CPU s':>7} {'peak MB':>8}")
    for scene in args.scenes.split(","):
        values = scene_config(scene)
        if values is None:
            print(f"{scene:14} its images are not there")
            continue
        for matcher in args.matchers.split(","):
            try:
                if matcher in WEIGHTS:
                    find_weights(WEIGHTS[matcher])
            except RsmvsError as error:
                print(f"{scene:14} {matcher:8} {error}")
                continue
            print(f"{scene:14} {matcher:8} {figures(values, matcher, args.cores)}", flush=True)


if __name__ == "__main__":
    main()

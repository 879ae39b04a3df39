"""Options of the preparation of published data sets."""

from __future__ import annotations

from dataclasses import dataclass

from rsmvs.options import opt, required, section
from rsmvs.types import CLASS_CODES


@dataclass(frozen=True)
class SiteOptions:
    name: str = required("prefix of the site's files (JAX)")
    views: tuple[int, ...] = required("numbers of the views, the reference first")
    crs: str | None = opt(None, "CRS of the site's DSM where its file has none (EPSG:32617)")


@dataclass(frozen=True)
class SplitOptions:
    test: int = opt(0, "tiles set aside for the test", low=0)
    val: int = opt(0, "tiles set aside for validation", low=0)


@dataclass(frozen=True)
class PrepareOptions:
    form: str = opt("folders", "layout: view folders (WHU-MVS, WHU-TLC) or US3D (DFC2019, SpaceNet 4)",
                    choices=("folders", "us3d"))
    view_num: int = opt(3, "folders: views of a set", low=2, high=20)
    ref_view: int = opt(2, "folders: number of the reference view", low=0, high=1000)
    sites: tuple[SiteOptions, ...] = opt((), "us3d: sites and their views")
    crop: int = opt(512, "us3d: side of the crops", unit="px", low=32, high=8192)
    origin: str = opt("corner", "us3d: what a DSM's text file names of the lower-left cell", choices=("corner", "centre"))
    classes: tuple[int, ...] = opt(CLASS_CODES, "us3d: class codes that stand for themselves; others become 'other'")
    split: SplitOptions = section(SplitOptions, "us3d: tiles kept from the training")

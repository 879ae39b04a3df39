"""The tiles as one product a layer, and the ledger of the scene."""

from pathlib import Path

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, ProductOptions
    from rsmvs.stages.products import mosaic_scene

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(ProductOptions, snakemake.params.options, "products")
    out_dir = Path(snakemake.output[0]).parent
    mosaic_scene(snakemake.input.ledgers, area, options, out_dir, classes=snakemake.params.classes)

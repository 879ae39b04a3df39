"""The tiles as one product a layer, and the ledger of the scene."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions
    from rsmvs.stages.products import mosaic_scene

    area = build(AreaOptions, snakemake.params.area, "area")
    mosaic_scene(snakemake.input.ledgers, area, snakemake.params.products)

"""The tiles' points as one cloud that viewers stream."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, ProductOptions
    from rsmvs.stages.products import pack_points

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(ProductOptions, snakemake.params.options, "products")
    pack_points(snakemake.input.ledgers, area, options, snakemake.output.copc)

"""The consistent heights of one tile as a gridded core and a point cloud."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, FuseOptions
    from rsmvs.stages.heights import fuse_tile

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(FuseOptions, snakemake.params.options, "fuse")
    fuse_tile(snakemake.input.consistent, snakemake.input.plan, area, options, snakemake.output.ledger)

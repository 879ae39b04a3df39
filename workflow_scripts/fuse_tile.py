"""The consistent heights of one tile as a gridded core and a point cloud."""

from _job import tile_job


def work(trial):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, FuseOptions
    from rsmvs.stages.heights import fuse_tile

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(FuseOptions, snakemake.params.options, "fuse")
    job_input, plan, ledger = snakemake.input, snakemake.params.plan, snakemake.output.ledger
    fuse_tile(job_input.consistent, plan, area, options, ledger, smaller=trial.number > 2)


tile_job(snakemake, work)

"""Which heights of one tile other views confirm."""

from _job import tile_job


def work(trial):
    from rsmvs.config import build
    from rsmvs.options import FilterOptions
    from rsmvs.stages.heights import filter_heights

    options = build(FilterOptions, snakemake.params.options, "filter")
    filter_heights(snakemake.input.heights, snakemake.params.plan, options, snakemake.output.index)


tile_job(snakemake, work)

"""Cameras corrected by bundle adjustment of the tie points."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AdjustOptions
    from rsmvs.stages.views import adjust_views

    options = build(AdjustOptions, snakemake.params.options, "adjust")
    adjust_views(snakemake.input.views, snakemake.input.matches, options, snakemake.output.views)

"""Cameras corrected by bundle adjustment of the tie points."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AdjustOptions, ReferenceOptions
    from rsmvs.stages.adjust import adjust_views

    options = build(AdjustOptions, snakemake.params.options, "adjust")
    reference = build(ReferenceOptions, snakemake.params.reference, "reference")
    heights = snakemake.params.height_range
    adjust_views(snakemake.input.views, snakemake.input.matches, options, snakemake.output.views, heights, reference)

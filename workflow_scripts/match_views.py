"""Tie points of one view with every overlapping later view."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import MatchOptions
    from rsmvs.stages.adjust import match_views

    options = build(MatchOptions, snakemake.params.options, "match")
    heights, frozen = snakemake.params.height_range, snakemake.params.frozen
    match_views(snakemake.input.views, snakemake.wildcards.view, options, snakemake.output.matches, heights, frozen)

"""The scene at a glance."""

from _job import job

with job(snakemake):
    from rsmvs.stages.report import picture_scene

    picture_scene(snakemake.input.dsm, snakemake.input.ortho, snakemake.output.picture)

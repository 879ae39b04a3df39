"""The products for catalogues, and what they were made from."""

from _job import job

with job(snakemake):
    from rsmvs.stages.report import catalogue_scene

    job_input, job_output = snakemake.input, snakemake.output
    catalogue_scene(job_input.products, job_input.views, snakemake.params.config, job_output.item, job_output.manifest)

"""The run as one page."""

from pathlib import Path

from _job import job

with job(snakemake):
    from rsmvs.stages.report import report_scene

    job_input, out = snakemake.input, snakemake.output.report
    reference = snakemake.params.reference["dsm"]
    report_scene(Path(out).parent, job_input.views, job_input.plan, job_input.residuals, reference, out)

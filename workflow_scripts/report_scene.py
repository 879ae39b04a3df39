"""The run as one page."""

from pathlib import Path

from _job import job

with job(snakemake):
    from rsmvs.stages.report import report_scene

    job_input, out = snakemake.input, snakemake.output
    reference = snakemake.params.reference["dsm"]
    report_scene(Path(out.report).parent, job_input.views, job_input.plan, job_input.residuals, reference, out.report,
                 logs="logs", out_timings=out.timings)  # fmt: skip

"""The DSM against a reference."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.evaluation import evaluate

    options = build(ReferenceOptions, snakemake.params.options, "reference")
    job_input = snakemake.input
    classes = next(iter(job_input.classes), None)  # of matchers that give any
    evaluate(job_input.dsm, options, snakemake.output.metrics, classes=classes, uncertainty=job_input.uncertainty)

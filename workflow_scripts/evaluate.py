"""The DSM against a reference."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.products import evaluate

    options = build(ReferenceOptions, snakemake.params.options, "reference")
    evaluate(snakemake.input.dsm, options, snakemake.output.metrics, uncertainty=snakemake.input.uncertainty)

"""A learned matcher, trained on samples."""

from _job import job

with job(snakemake):
    from pathlib import Path

    from rsmvs.stages.train_network import train_network

    folder = Path(snakemake.output.weights).parent
    train_network(snakemake.params.config, snakemake.params.model, snakemake.params.preset, folder)

"""Terrain, heights above it, and the surface with its holes filled."""

from pathlib import Path

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import ProductOptions
    from rsmvs.stages.products import derive_surfaces

    options = build(ProductOptions, snakemake.params.options, "products")
    derive_surfaces(snakemake.input.dsm, options, Path(snakemake.output[0]).parent)

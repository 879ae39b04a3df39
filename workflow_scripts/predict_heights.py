"""Per reference view of one tile: height and confidence."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, HeightsOptions
    from rsmvs.stages.heights import predict_heights

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(HeightsOptions, snakemake.params.options, "heights")
    rdm = snakemake.input.rdm[0] if options.rdm else None
    predict_heights(snakemake.input.plan, area, options, snakemake.output.index, rdm)

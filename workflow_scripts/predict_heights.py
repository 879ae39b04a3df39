"""Per reference view of one tile: height and confidence."""

from _job import tile_job


def work(trial):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, HeightsOptions
    from rsmvs.stages.heights import predict_heights

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(HeightsOptions, snakemake.params.options, "heights")
    rdm = snakemake.input.rdm[0] if options.rdm else None
    predict_heights(snakemake.params.plan, area, options, snakemake.output.index, rdm, smaller=trial.number > 2)


tile_job(snakemake, work)

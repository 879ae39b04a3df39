"""Per reference view of one tile: relative depth at three blurs."""

from _job import tile_job


def work(trial):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, RdmOptions
    from rsmvs.stages.rdm import predict_rdm

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(RdmOptions, snakemake.params.options, "rdm")
    predict_rdm(snakemake.params.plan, area, options, snakemake.params.max_views, snakemake.output.index)


tile_job(snakemake, work)

"""Per reference view of one tile: relative depth at three blurs."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, RdmOptions
    from rsmvs.stages.rdm import predict_rdm

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(RdmOptions, snakemake.params.options, "rdm")
    predict_rdm(snakemake.input.plan, area, options, snakemake.params.max_views, snakemake.output.index)

"""Per tile: ranked view sets and the height range, or why there are none."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, ReferenceOptions, SelectOptions
    from rsmvs.stages.views import select_views

    area = build(AreaOptions, snakemake.params.area, "area")
    options = build(SelectOptions, snakemake.params.options, "select")
    reference = build(ReferenceOptions, snakemake.params.reference, "reference")
    select_views(snakemake.input.views, area, options, reference, snakemake.output.plan)

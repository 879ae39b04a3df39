"""One record per image: file, camera, footprint, GSD, angles, date, sun."""

from _job import job

with job(snakemake):
    from rsmvs.config import build
    from rsmvs.options import AreaOptions, ImageOptions
    from rsmvs.stages.views import index_views

    images = [build(ImageOptions, image, "images") for image in snakemake.params.images]
    index_views(images, build(AreaOptions, snakemake.params.area, "area"), snakemake.output.views)

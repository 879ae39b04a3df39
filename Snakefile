# From satellite images and their cameras to a digital surface model (DSM), an orthoimage and a point cloud.
#
#   rsmvs run my.yaml                                   the usual way: checks, passes, retries, a table at the end
#   snakemake --configfile my.yaml --cores all plan     the same by hand: first the plan,
#   RSMVS_PLANNED=1 snakemake --configfile my.yaml --cores all      then the tiles whose plan has changed
#
# Two passes, because what Snakemake has to do is settled before the first job: so a tile whose plan is the same as before
# keeps its products, although the plan of the area was made anew. One pass without the variable makes all tiles again then.
from snakemake.utils import min_version

min_version("9.0")

if not config:

    configfile: "config/demo.yaml"


include: "rules/common.smk"
include: "rules/scheduler.smk"


# Each run has its own folder, with Snakemake's records in it: two areas can run at the same time.
workdir: CONFIG.output


rule all:
    default_target: True
    input:
        expand("products/{name}", name=PRODUCTS + EVALUATED + REPORTS),


# Places to stop at, in the order of the chain; beside it a training.
rule adjust:
    input:
        "adjusted/views.json",


rule plan:
    input:
        "plan.json",


rule heights:
    input:
        expand("tiles/{tile}/consistent/index.json", tile=TILES),


rule products:
    input:
        expand("products/{name}", name=PRODUCTS),


rule train:
    input:
        "train/last.safetensors",


include: "rules/views.smk"
include: "rules/heights.smk"
include: "rules/products.smk"
include: "rules/report.smk"
include: "rules/train.smk"

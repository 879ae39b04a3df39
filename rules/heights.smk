# A tile: heights per reference view, their consistency, their fusion. All a tile needs to know is in its plan.


rule predict_heights:
    input:
        plan="tiles/{tile}/plan.json",
    output:
        index="tiles/{tile}/heights/index.json",
    log:
        "logs/predict_heights/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=match_mb,
    params:
        revision=1,
        options=as_dict(CONFIG.heights),
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/predict_heights.py"


rule filter_heights:
    input:
        heights="tiles/{tile}/heights/index.json",
        plan="tiles/{tile}/plan.json",
    output:
        index="tiles/{tile}/consistent/index.json",
    log:
        "logs/filter_heights/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=tile_mb,
    params:
        revision=1,
        options=as_dict(CONFIG.filter),
    script:
        "../workflow_scripts/filter_heights.py"


rule fuse_tile:
    input:
        consistent="tiles/{tile}/consistent/index.json",
        plan="tiles/{tile}/plan.json",
    output:
        ledger="tiles/{tile}/ledger.json",
    log:
        "logs/fuse_tile/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=tile_mb,
    params:
        revision=1,
        options=as_dict(CONFIG.fuse),
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/fuse_tile.py"

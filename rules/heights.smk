# A tile: heights per reference view, their consistency, their fusion. All a tile needs to know is in its plan.


rule predict_rdm:
    input:
        plan="tiles/{tile}/plan.json",
        model=local_files(CONFIG.rdm.model),
    output:
        index="tiles/{tile}/rdm/index.json",
    log:
        "logs/predict_rdm/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=match_mb,
    params:
        revision=1,
        options=as_dict(CONFIG.rdm),
        max_views=CONFIG.heights.max_views,
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/predict_rdm.py"


rule predict_heights:
    input:
        plan="tiles/{tile}/plan.json",
        rdm=["tiles/{tile}/rdm/index.json"] if CONFIG.heights.rdm else [],
        weights=local_files(CONFIG.heights.learned.weights),
    output:
        index="tiles/{tile}/heights/index.json",
    log:
        "logs/predict_heights/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=match_mb,
    params:
        revision=5,
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
        revision=3,
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
        revision=5,
        options=as_dict(CONFIG.fuse),
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/fuse_tile.py"

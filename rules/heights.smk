# A tile: heights per reference view, their consistency, their fusion. All a tile needs to know is in its plan. The stages
# that begin a tile depend on its content, the others on them. A tile that is begun goes before one that is not: what is wrong
# in the last stage shows with the first tile, not after all of them.


rule predict_rdm:
    input:
        plan=PLAN,
        model=local_files(CONFIG.rdm.model),
    output:
        index="tiles/{tile}/rdm/index.json",
    log:
        "logs/predict_rdm/{tile}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("predict_rdm"),
    params:
        revision=3,
        plan="tiles/{tile}/plan.json",
        planned=planned,
        options=as_dict(CONFIG.rdm),
        max_views=CONFIG.heights.max_views,
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/predict_rdm.py"


rule predict_heights:
    input:
        plan=PLAN,
        rdm=["tiles/{tile}/rdm/index.json"] if CONFIG.heights.rdm else [],
        weights=local_files(CONFIG.heights.learned.weights),
    output:
        index="tiles/{tile}/heights/index.json",
    log:
        "logs/predict_heights/{tile}.log",
    priority: 1
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("predict_heights"),
    params:
        revision=7,
        plan="tiles/{tile}/plan.json",
        planned=planned,
        options=as_dict(CONFIG.heights),
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/predict_heights.py"


rule filter_heights:
    input:
        heights="tiles/{tile}/heights/index.json",
    output:
        index="tiles/{tile}/consistent/index.json",
    log:
        "logs/filter_heights/{tile}.log",
    priority: 2
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("filter_heights"),
    params:
        revision=3,
        plan="tiles/{tile}/plan.json",
        options=as_dict(CONFIG.filter),
    script:
        "../workflow_scripts/filter_heights.py"


rule fuse_tile:
    input:
        consistent="tiles/{tile}/consistent/index.json",
        weights=local_files(CONFIG.fuse.refine.weights),
    output:
        ledger="tiles/{tile}/ledger.json",
    log:
        "logs/fuse_tile/{tile}.log",
    priority: 3
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("fuse_tile"),
    params:
        revision=12,
        plan="tiles/{tile}/plan.json",
        options=as_dict(CONFIG.fuse),
        area=area("crs", "resolution", "tile_size", "halo"),
    script:
        "../workflow_scripts/fuse_tile.py"

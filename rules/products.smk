# The scene: tiles put together, and compared with what is known.


rule mosaic_scene:
    input:
        ledgers=expand("tiles/{tile}/ledger.json", tile=TILES),
        aoi=local_files(CONFIG.area.aoi_file),
    output:
        expand("products/{name}", name=MOSAICS),
    log:
        "logs/mosaic_scene.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=1000,
    params:
        revision=1,
        options=as_dict(CONFIG.products),
        area=area("crs", "aoi", "aoi_file", "resolution", "tile_size"),
    script:
        "../workflow_scripts/mosaic_scene.py"


rule pack_points:
    input:
        ledgers=expand("tiles/{tile}/ledger.json", tile=TILES),
        aoi=local_files(CONFIG.area.aoi_file),
    output:
        copc="products/points.copc.laz",
    log:
        "logs/pack_points.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=1000,
    params:
        revision=1,
        options=as_dict(CONFIG.products),
        area=area("crs", "aoi", "aoi_file", "resolution", "tile_size"),
    script:
        "../workflow_scripts/pack_points.py"


rule derive_surfaces:
    input:
        dsm="products/dsm.tif",
    output:
        expand("products/{name}", name=DERIVED),
    log:
        "logs/derive_surfaces.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=1500,
    params:
        revision=2,
        options=as_dict(CONFIG.products),
    script:
        "../workflow_scripts/derive_surfaces.py"


rule evaluate:
    input:
        dsm="products/dsm.tif",
        uncertainty="products/uncertainty.tif",
        reference=local_files(CONFIG.reference.dsm, CONFIG.reference.classes, CONFIG.reference.dtm),
    output:
        metrics="products/metrics.json",
    log:
        "logs/evaluate.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=1500,
    params:
        revision=1,
        options=as_dict(CONFIG.reference),
    script:
        "../workflow_scripts/evaluate.py"

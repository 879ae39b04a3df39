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
        **needs("mosaic_scene"),
    params:
        revision=4,
        options=as_dict(CONFIG.products),
        area=area("crs", "aoi", "aoi_file", "resolution", "tile_size"),
        classes=CONFIG.heights.classes,
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
        **needs("pack_points"),
    params:
        revision=2,
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
        **needs("derive_surfaces"),
    params:
        revision=3,
        options=as_dict(CONFIG.products),
    script:
        "../workflow_scripts/derive_surfaces.py"


rule evaluate:
    input:
        dsm="products/dsm.tif",
        uncertainty="products/uncertainty.tif",
        classes=["products/semantic.tif"] if CLASSIFIED else [],
        reference=local_files(CONFIG.reference.dsm, CONFIG.reference.classes, CONFIG.reference.dtm),
    output:
        metrics="products/metrics.json",
    log:
        "logs/evaluate.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("evaluate"),
    params:
        revision=5,
        options=as_dict(CONFIG.reference),
    script:
        "../workflow_scripts/evaluate.py"

# What people and catalogues see of a run.


rule picture_scene:
    input:
        dsm="products/dsm.tif",
        ortho="products/ortho.tif",
    output:
        picture="products/preview.png",
    log:
        "logs/picture_scene.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("picture_scene"),
    params:
        revision=1,
    script:
        "../workflow_scripts/picture_scene.py"


rule catalogue_scene:
    input:
        products=expand("products/{name}", name=PRODUCTS + EVALUATED + ["preview.png"]),
        views="adjusted/views.json",
        images=image_files(),
        known=local_files(*KNOWN),
    output:
        item="products/item.json",
        manifest="products/manifest.json",
    log:
        "logs/catalogue_scene.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("catalogue_scene"),
    params:
        revision=3,
        config=as_dict(CONFIG),
    script:
        "../workflow_scripts/catalogue_scene.py"


rule report_scene:
    input:
        item="products/item.json",
        manifest="products/manifest.json",
        products=expand("products/{name}", name=PRODUCTS + EVALUATED),
        views="adjusted/views.json",
        plan="plan.json",
        residuals="adjusted/residuals.json",
        reference=local_files(CONFIG.reference.dsm),
    output:
        report="products/report.html",
        timings="timings.json",
    log:
        "logs/report_scene.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("report_scene"),
    params:
        revision=4,
        reference=as_dict(CONFIG.reference),
    script:
        "../workflow_scripts/report_scene.py"

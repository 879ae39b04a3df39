# The images and their cameras: what there is, how it fits together, what is matched with what.


rule index_views:
    input:
        images=image_files(),
        aoi=local_files(CONFIG.area.aoi_file),
    output:
        views="views.json",
    log:
        "logs/index_views.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("index_views"),
    params:
        revision=1,
        images=[as_dict(image) for image in CONFIG.images],
        stamps=stamps(image_files()),
        area=area("crs", "aoi", "aoi_file"),
    script:
        "../workflow_scripts/index_views.py"


rule match_views:
    input:
        views="views.json",
    output:
        matches="matches/{view}.npz",
    log:
        "logs/match_views/{view}.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("match_views"),
    params:
        revision=2,
        options=as_dict(CONFIG.match),
        height_range=area("height_range")["height_range"],
        frozen=FROZEN,
    script:
        "../workflow_scripts/match_views.py"


rule adjust_views:
    input:
        views="views.json",
        matches=expand("matches/{view}.npz", view=[view for view in VIEWS if view not in FROZEN]),
        frozen=local_files(*(f"{CONFIG.adjust.freeze}/{name}" for name in ("views.json", "points.npz"))),
        gcps=local_files(CONFIG.adjust.gcps),
        dem=local_files(CONFIG.reference.dem if CONFIG.adjust.dem_sigma else None),
    output:
        views="adjusted/views.json",
        points="adjusted/points.npz",
        residuals="adjusted/residuals.json",
        picture="adjusted/residuals.png",
    log:
        "logs/adjust_views.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("adjust_views"),
    params:
        revision=4,
        options=as_dict(CONFIG.adjust),
        height_range=area("height_range")["height_range"],
        reference={"dem": CONFIG.reference.dem, "dem_offset": CONFIG.reference.dem_offset} if CONFIG.adjust.dem_sigma else {},
    script:
        "../workflow_scripts/adjust_views.py"


# Writes tiles/{tile}/plan.json, too. Ten thousand outputs of one job would cost a time that grows with the square of the
# tiles: Snakemake looks for a file's job among the outputs of all.
rule select_views:
    input:
        views="adjusted/views.json",
        points="adjusted/points.npz",
        aoi=local_files(CONFIG.area.aoi_file),
        dem=local_files(CONFIG.reference.dem),
    output:
        plan="plan.json",
        picture="plan.png",
    log:
        "logs/select_views.log",
    conda:
        "../envs/environment.yaml"
    resources:
        **needs("select_views"),
    params:
        revision=2,
        options=as_dict(CONFIG.select),
        area=area("crs", "aoi", "aoi_file", "resolution", "tile_size", "halo", "height_range"),
        reference={"dem": CONFIG.reference.dem, "dem_offset": CONFIG.reference.dem_offset},
    script:
        "../workflow_scripts/select_views.py"

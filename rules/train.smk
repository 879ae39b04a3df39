# A learned matcher from samples, beside the chain. Its folder is the state that a training goes on from after a kill: only
# what stands there in the end is declared, for Snakemake removes what a failed job has declared.


rule train_network:
    input:
        config=local_files(CONFIG.train.config),
    output:
        weights="train/last.safetensors",
        card="train/last.json",
    log:
        "logs/train_network.log",
    conda:
        "../envs/environment.yaml"
    threads: CONFIG.train.threads
    resources:
        mem_mb=CONFIG.train.memory,
        runtime=round(60 * CONFIG.train.hours),
        gpu=1,
    params:
        revision=2,
        config=CONFIG.train.config,
        model=CONFIG.train.model,
        preset=CONFIG.train.preset,
    script:
        "../workflow_scripts/train_network.py"

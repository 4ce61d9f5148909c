rule problem_set:
    """Problems of one split, checked."""
    input:
        code=code("heal.problems"),
    output:
        problems=f"{RUN}/problems/{{split}}.parquet",
    log:
        f"{LOGS}/problems/{{split}}.log",
    benchmark:
        f"{TIMES}/problems/{{split}}.tsv"
    params:
        options=lambda wildcards: dataset(wildcards.split),
        seed=EXPERIMENT.seed,
    message:
        "Problems: {wildcards.split}"
    shell:
        "python -m heal.problems --options {params.options:q} --seed {params.seed} --out {output.problems:q}"
        " 2>&1 | tee {log:q}"

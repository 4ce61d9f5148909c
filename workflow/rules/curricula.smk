rule curriculum:
    """One method's training data, from the traces it declared to need."""
    input:
        problems=TRAIN,
        traces=lambda wildcards: [f"{T}/{file}" for file in METHODS[wildcards.method].needs()],
        code=code("heal.pipeline.curriculum"),
        method=lambda wildcards: code(type(METHODS[wildcards.method]).__module__),
    output:
        curriculum=f"{RUN}/curricula/{STUDENT}/curriculum.jsonl",
    log:
        f"{LOGS}/curricula/{STUDENT}.log",
    benchmark:
        f"{TIMES}/curricula/{STUDENT}.tsv"
    conda:
        CONDA
    params:
        method=lambda wildcards: method_json(wildcards.method),
        traces=T,
        seed=EXPERIMENT.seed,
    message:
        "Curriculum: {wildcards.method} (teacher {wildcards.teacher}, draw {wildcards.draw})"
    shell:
        "python -m heal.pipeline.curriculum --problems {input.problems:q} --traces {params.traces:q}"
        " --student {wildcards.student} --method {params.method:q} --seed {params.seed} --out {output.curriculum:q} 2>&1 | tee {log:q}"

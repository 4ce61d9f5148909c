# GEAR's repairs and what PURE measures on them.


rule repairs:
    """One shard of the repairs of one GEAR variant."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        model=teacher_files,
        code=code("heal.pipeline.repair"),
    output:
        repairs=f"{T}/shards/repairs/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/repairs/{{teacher}}.draw{{draw}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/repairs/{{teacher}}.draw{{draw}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        engine=options(EXPERIMENT.engine),
        sampling=options(EXPERIMENT.sampling),
        gear=lambda wildcards: as_json(GEARS[wildcards.variant]),
        seed=EXPERIMENT.seed,
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: repairs {wildcards.variant}, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.repair --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " {params.model:q} --engine {params.engine:q} --sampling {params.sampling:q} --options {params.gear:q}"
        " --seed {params.seed} --draw {wildcards.draw} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.repairs:q} 2>&1 | tee {log:q}"


rule trace_scores:
    """One shard of the scores of one GEAR variant's accepted repairs."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        repairs=f"{T}/repairs/{{variant}}.parquet",
        guided=lambda wildcards: f"{T}/guided.parquet" if needs_guided_scores(wildcards.variant) else [],
        model=teacher_files,
        code=code("heal.pipeline.score"),
    output:
        scores=f"{T}/shards/scores/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/scores/{{teacher}}.draw{{draw}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/scores/{{teacher}}.draw{{draw}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=TEACHER_GPUS,
    params:
        model=TEACHER,
        engine=options(EXPERIMENT.engine),
        scoring=options(EXPERIMENT.scoring),
        guided=lambda wildcards, input: ["--guided", input.guided] if input.guided else [],
        min_step_tokens=lambda wildcards: GEARS[wildcards.variant].min_step_tokens,
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, draw {wildcards.draw}: scores {wildcards.variant}, part {wildcards.shard} of {params.shards}"
    shell:
        "python -m heal.pipeline.score --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " --repairs {input.repairs:q} {params.guided:q} {params.model:q} --engine {params.engine:q}"
        " --options {params.scoring:q} --min-step-tokens {params.min_step_tokens}"
        " --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.scores:q} 2>&1 | tee {log:q}"

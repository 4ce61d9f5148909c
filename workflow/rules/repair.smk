# GEAR's repairs, and what PURE needs to know of them.


rule repair_traces:
    """One shard of the repairs of one GEAR variant."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        model=list_model_files("teachers"),
    output:
        repairs=f"{TRACES}/shards/repairs/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/repairs/{{teacher}}.{{teacher_seed}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/repairs/{{teacher}}.{{teacher_seed}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
    params:
        version=get_version("repair"),
        options=track_options("repair"),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: repairs {wildcards.variant}, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal repair --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed} --variant {wildcards.variant}"
        " --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.repairs:q}"


rule score_traces:
    """One shard of the scores of one GEAR variant's accepted repairs."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        repairs=f"{TRACES}/{REPAIRS.path}",
        guided=lambda wildcards: f"{TRACES}/{GUIDED.path}" if scores_guided(wildcards.variant) else [],
        model=list_model_files("teachers"),
    output:
        scores=f"{TRACES}/shards/scores/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/scores/{{teacher}}.{{teacher_seed}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/scores/{{teacher}}.{{teacher_seed}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
    params:
        version=get_version("score"),
        options=track_options("score"),
        guided=lambda wildcards, input: add_flag("--guided", input.guided),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: scores {wildcards.variant}, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal score --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed} --variant {wildcards.variant}"
        " --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q} --repairs {input.repairs:q}"
        " {params.guided:q} --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.scores:q}"

# GEAR's cuts and repairs, and what PURE needs to know of them.


rule plan_cuts:
    """Where each wrong trace breaks, for one GEAR variant: on the CPU, once for all shards of the repairs."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        model=list_model_files("teachers"),
    output:
        cuts=f"{TRACES}/{CUTS.path}",
    log:
        f"{LOGS}/cuts/{{teacher}}.{{teacher_seed}}.{{variant}}.log",
    benchmark:
        f"{TIMES}/cuts/{{teacher}}.{{teacher_seed}}.{{variant}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("plan-cuts"),
        options=track_options("plan-cuts"),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: cuts {wildcards.variant}"
    shell:
        "HEAL_LOG={log:q} heal plan-cuts --teacher {wildcards.teacher} --variant {wildcards.variant}"
        " --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q} --out {output.cuts:q}"


rule repair_traces:
    """One shard of the repairs of one GEAR variant."""
    input:
        problems=TRAIN,
        cuts=f"{TRACES}/{CUTS.path}",
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
        mem_mb=estimate_resource("mem_mb", "repair_traces", "teachers"),
        runtime=estimate_resource("runtime", "repair_traces", "teachers"),
    params:
        version=get_version("repair"),
        options=track_options("repair"),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: repairs {wildcards.variant}, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal repair --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed} --variant {wildcards.variant}"
        " --problems {input.problems:q} --cuts {input.cuts:q}"
        " --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.repairs:q}"


rule score_traces:
    """One shard of the scores of one GEAR variant's accepted repairs."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        repairs=f"{TRACES}/{REPAIRS.path}",
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
        mem_mb=estimate_resource("mem_mb", "score_traces", "teachers"),
        runtime=estimate_resource("runtime", "score_traces", "teachers"),
    params:
        version=get_version("score"),
        options=track_options("score"),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: scores {wildcards.variant}, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal score --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed} --variant {wildcards.variant}"
        " --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q} --repairs {input.repairs:q}"
        " --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.scores:q}"


rule score_guided:
    """One shard of the scores of the accepted answer-guided samples, which all GEAR variants share."""
    input:
        problems=TRAIN,
        guided=f"{TRACES}/{GUIDED.path}",
        model=list_model_files("teachers"),
    output:
        scores=f"{TRACES}/shards/guided_scores/{{shard}}.parquet",
    log:
        f"{LOGS}/guided_scores/{{teacher}}.{{teacher_seed}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/guided_scores/{{teacher}}.{{teacher_seed}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
        mem_mb=estimate_resource("mem_mb", "score_guided", "teachers"),
        runtime=estimate_resource("runtime", "score_guided", "teachers"),
    params:
        version=get_version("score"),
        options=track_options("score", variant=DEFAULT_VARIANT),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: scores of guided samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal score --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} --guided {input.guided:q}"
        " --shard {wildcards.shard}/{params.shards} --gpus {resources.gpu} --out {output.scores:q}"

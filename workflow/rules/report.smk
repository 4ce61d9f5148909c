# Tables and figures, from files that are there already: no model is needed to make them again.


rule comparison:
    """The table of a comparison, as csv, md, tex and plain text."""
    input:
        answers=answers,
        training=trained("training.json"),
        traces=lambda wildcards: needed_traces(NAMES[wildcards.kind]),
        premise=expand(f"{T}/premise.json", **AXES),
        problems=expand(f"{RUN}/problems/{{split}}.parquet", split=SPLITS),
        decontamination=DECONTAMINATION,
        code=code("evals.tables"),
    output:
        csv=f"{TABLES}/{{kind}}.csv",
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
        "python -m evals.tables {params.axes} --title {params.title:q} --reference-method {params.reference}"
        " --questions {params.questions:q} {params.decontamination:q}"
        " --methods-json {params.methods:q} --out {output.csv:q} 2>&1 | tee {log:q}"


rule details:
    """Strata, pass@k, maj@k, ranks, and every verdict behind a comparison."""
    input:
        answers=answers,
        problems=TRAIN,
        code=code("evals.details"),
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
        "python -m evals.details {params.axes} --reference-method {params.reference} --out {params.table:q}"
        " 2>&1 | tee {log:q}"


rule costs:
    """What every method took: tokens, seconds, GPU-seconds. It differs between two runs, as seconds do."""
    input:
        answers=answers,
        training=trained("training.json"),
        traces=lambda wildcards: needed_traces(NAMES[wildcards.kind]),
        code=code("evals.costs"),
    output:
        csv=f"{TABLES}/{{kind}}_costs.csv",
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
        "python -m evals.costs {params.axes} --methods-json {params.methods:q} --out {output.csv:q} 2>&1 | tee {log:q}"


rule paper:
    """What is known of the paper beside this run."""
    input:
        answers=lambda wildcards: answers_of("main"),
        premise=expand(f"{T}/premise.json", **AXES),
        problems=TRAIN,
        numbers="evals/paper.yaml",
        code=code("evals.paper"),
    output:
        csv=f"{TABLES}/paper.csv",
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
        "python -m evals.paper --run {params.run} --experiment {params.experiment:q} --out {output.csv:q}"
        " 2>&1 | tee {log:q}"


rule check:
    """Makes the numbers of the reference results again, from their raw answers."""
    input:
        code=code("evals.check"),
    log:
        f"{LOGS}/check.log",
    conda:
        CONDA
    params:
        folders=sorted(str(path) for path in Path("results/reference").glob("*") if path.is_dir()),
    message:
        "Checking {params.folders}"
    shell:
        "python -m evals.check {params.folders:q} 2>&1 | tee {log:q}"


rule doses:
    """What every method's students were shown: withheld facts, and exposures per stage."""
    input:
        curricula=curricula_of,
        exposures=trained("exposures.csv"),
        problems=TRAIN,
        code=code("evals.doses"),
    output:
        coverage=f"{TABLES}/{{kind}}_coverage.csv",
        exposures=f"{TABLES}/{{kind}}_exposures.csv",
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
        "python -m evals.doses {params.axes} --coverage {output.coverage:q} --exposures {output.exposures:q}"
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
        code=code("evals.audits"),
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
        "python -m evals.audits --run {params.run} --teacher {wildcards.teacher} --draw {wildcards.draw}"
        " --repairs-variants {params.variants} --gear {params.gear:q} --pure {params.pure:q} --seed {params.seed}"
        " --out {output.audits:q} 2>&1 | tee {log:q}"


rule audits_of_draws:
    """The audits of all draws of a teacher in one table."""
    input:
        audits=[f"{TABLES}/{{kind}}_audits/draw{draw}/audits_{{teacher}}.csv" for draw in AXES["draw"]],
        notes=f"{TABLES}/{{kind}}_audits/draw0/audits_{{teacher}}.md",
        code=code("evals.audit_draws"),
    output:
        audits=f"{TABLES}/{{kind}}_audits/audits_{{teacher}}.csv",
        md=f"{TABLES}/{{kind}}_audits/audits_{{teacher}}.md",
        premises=f"{TABLES}/{{kind}}_audits/premises_{{teacher}}.csv",
    log:
        f"{LOGS}/audits/{{kind}}.{{teacher}}.log",
    benchmark:
        f"{TIMES}/audits/{{kind}}.{{teacher}}.tsv"
    conda:
        CONDA
    message:
        "Audits of the teacher {wildcards.teacher}, all draws ({wildcards.kind})"
    shell:
        "python -m evals.audit_draws --teacher {wildcards.teacher} --audits {input.audits:q} --out {output.audits:q}"
        " 2>&1 | tee {log:q}"


rule figure_accuracy:
    """Accuracy of every method with its interval and the single seeds."""
    input:
        answers=answers,
        code=code("evals.figures"),
    output:
        **pictures_of("{kind}/accuracy"),
    log:
        f"{LOGS}/figures/{{kind}}.accuracy.log",
    benchmark:
        f"{TIMES}/figures/{{kind}}.accuracy.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
    message:
        "Figure: accuracy ({wildcards.kind})"
    shell:
        "python -m evals.figures accuracy {params.axes} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_ceiling:
    """The teacher's pass rates: what rejection sampling cannot teach."""
    input:
        problems=TRAIN,
        grades=f"{T}/grades.parquet",
        code=code("evals.figures"),
    output:
        **pictures_of("draw{draw}/ceiling_{teacher}"),
    log:
        f"{LOGS}/figures/draw{{draw}}.ceiling_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/draw{{draw}}.ceiling_{{teacher}}.tsv"
    conda:
        CONDA
    message:
        "Figure: the ceiling of the teacher {wildcards.teacher}, draw {wildcards.draw}"
    shell:
        "python -m evals.figures ceiling --problems {input.problems:q} --grades {input.grades:q} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"


rule figure_trace:
    """One wrong trace: its entropy, the breakpoint, the hint and what came of it."""
    input:
        samples=f"{T}/samples.parquet",
        repairs=f"{T}/repairs/{OWN}.parquet",
        model=teacher_files,
        code=code("evals.figures"),
    output:
        **pictures_of("draw{draw}/trace_{teacher}"),
    log:
        f"{LOGS}/figures/draw{{draw}}.trace_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/draw{{draw}}.trace_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        tokenizer=of_model("teachers", lambda model, folder: f"{folder or model.path}/tokenizer.json"),
        min_step_tokens=EXPERIMENT.gear.min_step_tokens,
    message:
        "Figure: one repaired trace of the teacher {wildcards.teacher}, draw {wildcards.draw}"
    shell:
        "python -m evals.figures trace --samples {input.samples:q} --repairs {input.repairs:q}"
        " --tokenizer {params.tokenizer:q} --min-step-tokens {params.min_step_tokens} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"


rule figure_pure:
    """PURE's anomaly of valid and invalid repairs."""
    input:
        problems=TRAIN,
        repairs=f"{T}/repairs/{OWN}.parquet",
        scores=f"{T}/scores/{OWN}.parquet",
        code=code("evals.figures"),
    output:
        **pictures_of("draw{draw}/pure_{teacher}"),
    log:
        f"{LOGS}/figures/draw{{draw}}.pure_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/draw{{draw}}.pure_{{teacher}}.tsv"
    conda:
        CONDA
    params:
        pure=options(EXPERIMENT.pure),
    message:
        "Figure: PURE's scores on the repairs of the teacher {wildcards.teacher}, draw {wildcards.draw}"
    shell:
        "python -m evals.figures pure --problems {input.problems:q} --repairs {input.repairs:q} --scores {input.scores:q}"
        " --pure {params.pure:q} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_cost:
    """Accuracy on the primary outcome against what the teacher spent."""
    input:
        table=f"{TABLES}/{{kind}}.csv",
        code=code("evals.study_figures"),
    output:
        **pictures_of("{kind}/cost"),
    log:
        f"{LOGS}/figures/{{kind}}.cost.log",
    benchmark:
        f"{TIMES}/figures/{{kind}}.cost.tsv"
    conda:
        CONDA
    params:
        more_samples=lambda wildcards: more_samples(wildcards.kind),
    message:
        "Figure: accuracy against teacher tokens ({wildcards.kind})"
    shell:
        "python -m evals.study_figures cost --table {input.table:q} --more-samples {params.more_samples}"
        " --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_doses:
    """Accuracy on the primary outcome against what the students were shown."""
    input:
        table=f"{TABLES}/{{kind}}.csv",
        exposures=f"{TABLES}/{{kind}}_exposures.csv",
        training=trained("training.json"),
        code=code("evals.study_figures"),
    output:
        **pictures_of("{kind}/doses"),
    log:
        f"{LOGS}/figures/{{kind}}.doses.log",
    benchmark:
        f"{TIMES}/figures/{{kind}}.doses.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
    message:
        "Figure: accuracy against doses ({wildcards.kind})"
    shell:
        "python -m evals.study_figures doses {params.axes} --table {input.table:q} --exposures {input.exposures:q}"
        " --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_cuts:
    """What the cuts of every GEAR variant are worth, as the audits say it."""
    input:
        audits=expand(f"{TABLES}/{{{{kind}}}}_audits/audits_{{teacher}}.csv", **AXES),
        code=code("evals.study_figures"),
    output:
        **pictures_of("{kind}/cuts"),
    log:
        f"{LOGS}/figures/{{kind}}.cuts.log",
    benchmark:
        f"{TIMES}/figures/{{kind}}.cuts.tsv"
    conda:
        CONDA
    params:
        teachers=AXES["teacher"],
        methods=lambda wildcards: json.dumps(users_of_gear(wildcards.kind)),
    message:
        "Figure: cuts by detector ({wildcards.kind})"
    shell:
        "python -m evals.study_figures cuts --teachers {params.teachers} --audits {input.audits:q}"
        " --methods-json {params.methods:q} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_roc:
    """Whether PURE's score and its rivals find the invalid repairs of the run's own GEAR."""
    input:
        problems=TRAIN,
        traces=expand(f"{T}/{{table}}/{OWN}.parquet", table=("repairs", "scores"), **AXES),
        code=code("evals.study_figures"),
    output:
        **pictures_of("roc"),
    log:
        f"{LOGS}/figures/roc.log",
    benchmark:
        f"{TIMES}/figures/roc.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
        teachers=AXES["teacher"],
        draws=EXPERIMENT.draws,
        variant=OWN,
        pure=options(EXPERIMENT.pure),
        seed=EXPERIMENT.seed,
    message:
        "Figure: PURE's ROC beside its rivals'"
    shell:
        "python -m evals.study_figures roc --run {params.run} --teachers {params.teachers} --draws {params.draws}"
        " --variant {params.variant} --pure {params.pure:q} --seed {params.seed} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"

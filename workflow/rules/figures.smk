# Figures, each as svg and png with the numbers behind it, from files that are there already.


rule figure_accuracy:
    """Accuracy of every method with its interval and the single seeds."""
    input:
        answers=answers,
        code=code("evals.figures.accuracy"),
    output:
        **pictures_of("{kind}/accuracy", "Accuracy", "Results", Methods="{kind}"),
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
        "python -m evals.figures.accuracy accuracy {params.axes} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_ceiling:
    """The teacher's pass rates: what rejection sampling cannot teach."""
    input:
        problems=TRAIN,
        grades=f"{T}/grades.parquet",
        code=code("evals.figures.accuracy"),
    output:
        **pictures_of(
            "draw{draw}/ceiling_{teacher}", "The teacher's ceiling", "Mechanism", Teacher="{teacher}", Draw="{draw}"
        ),
    log:
        f"{LOGS}/figures/draw{{draw}}.ceiling_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/draw{{draw}}.ceiling_{{teacher}}.tsv"
    conda:
        CONDA
    message:
        "Figure: the ceiling of the teacher {wildcards.teacher}, draw {wildcards.draw}"
    shell:
        "python -m evals.figures.accuracy ceiling --problems {input.problems:q} --grades {input.grades:q} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"


rule figure_trace:
    """One wrong trace: its entropy, the breakpoint, the hint and what came of it."""
    input:
        samples=f"{T}/samples.parquet",
        repairs=f"{T}/repairs/{OWN}.parquet",
        model=teacher_files,
        code=code("evals.figures.accuracy"),
    output:
        **pictures_of(
            "draw{draw}/trace_{teacher}", "One repaired trace", "Mechanism", Teacher="{teacher}", Draw="{draw}"
        ),
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
        "python -m evals.figures.accuracy trace --samples {input.samples:q} --repairs {input.repairs:q}"
        " --tokenizer {params.tokenizer:q} --min-step-tokens {params.min_step_tokens} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"


rule figure_positions:
    """Where repairs cut, and how often they succeed by position."""
    input:
        problems=TRAIN,
        repairs=f"{T}/repairs/{OWN}.parquet",
        code=code("evals.figures.accuracy"),
    output:
        **pictures_of(
            "draw{draw}/positions_{teacher}", "Cuts by position", "Mechanism", Teacher="{teacher}", Draw="{draw}"
        ),
    log:
        f"{LOGS}/figures/draw{{draw}}.positions_{{teacher}}.log",
    benchmark:
        f"{TIMES}/figures/draw{{draw}}.positions_{{teacher}}.tsv"
    conda:
        CONDA
    message:
        "Figure: where the repairs of the teacher {wildcards.teacher} cut, draw {wildcards.draw}"
    shell:
        "python -m evals.figures.accuracy positions --problems {input.problems:q} --repairs {input.repairs:q}"
        " --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_pure:
    """PURE's anomaly of valid and invalid repairs."""
    input:
        problems=TRAIN,
        repairs=f"{T}/repairs/{OWN}.parquet",
        scores=f"{T}/scores/{OWN}.parquet",
        code=code("evals.figures.accuracy"),
    output:
        **pictures_of("draw{draw}/pure_{teacher}", "PURE's scores", "Mechanism", Teacher="{teacher}", Draw="{draw}"),
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
        "python -m evals.figures.accuracy pure --problems {input.problems:q} --repairs {input.repairs:q} --scores {input.scores:q}"
        " --pure {params.pure:q} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_cost:
    """Accuracy on the primary outcome against what the teacher spent."""
    input:
        table=f"{TABLES}/{{kind}}.csv",
        code=code("evals.figures.study"),
    output:
        **pictures_of("{kind}/cost", "Accuracy against teacher tokens", "Results", Methods="{kind}"),
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
        "python -m evals.figures.study cost --table {input.table:q} --more-samples {params.more_samples}"
        " --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_doses:
    """Accuracy on the primary outcome against what the students were shown."""
    input:
        table=f"{TABLES}/{{kind}}.csv",
        exposures=f"{TABLES}/{{kind}}_exposures.csv",
        training=trained("training.json"),
        code=code("evals.figures.study"),
    output:
        **pictures_of("{kind}/doses", "Accuracy against doses", "Results", Methods="{kind}"),
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
        "python -m evals.figures.study doses {params.axes} --table {input.table:q} --exposures {input.exposures:q}"
        " --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_cuts:
    """What the cuts of every GEAR variant are worth, as the audits say it."""
    input:
        audits=expand(f"{TABLES}/{{{{kind}}}}_audits/audits_{{teacher}}.csv", **AXES),
        code=code("evals.figures.study"),
    output:
        **pictures_of("{kind}/cuts", "What cuts are worth", "Mechanism", Methods="{kind}"),
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
        "python -m evals.figures.study cuts --teachers {params.teachers} --audits {input.audits:q}"
        " --methods-json {params.methods:q} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_roc:
    """Whether PURE's score and its rivals find the invalid repairs of the run's own GEAR."""
    input:
        problems=TRAIN,
        traces=expand(f"{T}/{{table}}/{OWN}.parquet", table=("repairs", "scores"), **AXES),
        code=code("evals.figures.study"),
    output:
        **pictures_of("roc", "PURE's ROC beside its rivals'", "Mechanism"),
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
        "python -m evals.figures.study roc --run {params.run} --teachers {params.teachers} --draws {params.draws}"
        " --variant {params.variant} --pure {params.pure:q} --seed {params.seed} --out {output.svg:q}"
        " 2>&1 | tee {log:q}"


rule figure_loss:
    """The students' training loss by PACE stage."""
    input:
        losses=trained("loss.csv"),
        code=code("evals.figures.training"),
    output:
        **pictures_of("{kind}/loss", "Training loss by PACE stage", "Costs", Methods="{kind}"),
    log:
        f"{LOGS}/figures/{{kind}}.loss.log",
    benchmark:
        f"{TIMES}/figures/{{kind}}.loss.tsv"
    conda:
        CONDA
    params:
        axes=lambda wildcards: axes(wildcards.kind),
    message:
        "Figure: training loss ({wildcards.kind})"
    shell:
        "python -m evals.figures.training loss {params.axes} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_hours:
    """Hours of each part of the run, from the ledger. They differ between two runs, as seconds do."""
    input:
        answers=lambda wildcards: answers_of("main"),
        traces=lambda wildcards: needed_traces(MAIN),
        code=code("evals.figures.training"),
    output:
        **pictures_of("hours", "Hours by part of the run", "Costs"),
    log:
        f"{LOGS}/figures/hours.log",
    benchmark:
        f"{TIMES}/figures/hours.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
    message:
        "Figure: hours by part of the run"
    shell:
        "python -m evals.figures.training hours --run {params.run} --out {output.svg:q} 2>&1 | tee {log:q}"


rule figure_rulegraph:
    """The workflow's own rules and what each needs."""
    input:
        workflow=["Snakefile", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("workflow/rules/*.smk"))],
        code=code("evals.figures.rule_graph"),
    output:
        **pictures_of("rulegraph", "Rule graph", "Environment"),
    log:
        f"{LOGS}/figures/rulegraph.log",
    benchmark:
        f"{TIMES}/figures/rulegraph.tsv"
    conda:
        CONDA
    params:
        configfiles=[
            os.path.relpath(path, ROOT) for path in workflow.config_settings.configfiles or ["config/config.yaml"]
        ],
    message:
        "Figure: the rule graph"
    shell:
        "python -m evals.figures.rule_graph --configfiles {params.configfiles:q} --out {output.svg:q} 2>&1 | tee {log:q}"


rule trace_viewer:
    """Repairs as a page to read: of the main methods, and of every other GEAR variant that is there already."""
    input:
        traces=viewed_traces,
        problems=TRAIN,
        model=teacher_files,
        code=code("heal.viewer.__main__"),
        page=[f"heal/viewer/{name}" for name in heal.viewer.page.FILES],
    output:
        html=f"{RUN}/viewer/{{teacher}}_draw{{draw}}.html",
    log:
        f"{LOGS}/viewer/{{teacher}}.draw{{draw}}.log",
    benchmark:
        f"{TIMES}/viewer/{{teacher}}.draw{{draw}}.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
        pure=options(EXPERIMENT.pure),
        seed=EXPERIMENT.seed,
    message:
        "Trace viewer of the teacher {wildcards.teacher}, draw {wildcards.draw}"
    shell:
        "python -m heal.viewer {params.run} --teacher {wildcards.teacher} --draw {wildcards.draw} --seed {params.seed}"
        " --pure {params.pure:q} --out {output.html:q} 2>&1 | tee {log:q}"

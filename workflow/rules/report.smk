# One page with the summary, every table and every figure: no script, no model; and the trace viewer.


rule render_report:
    """The page of a comparison, and its summary as text."""
    input:
        files=list_page_inputs,
        captions=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("workflow/report/*.rst")),
        template="evals/report/report.html.jinja",
    output:
        html=mark_for_report(
            f"{RUN}/report/{{comparison}}.html",
            "page",
            "Summary",
            Page="Summary, tables, figures",
            Methods="{comparison}",
        ),
        txt=f"{RUN}/report/{{comparison}}.txt",
    log:
        f"{LOGS}/report/{{comparison}}.log",
    benchmark:
        f"{TIMES}/report/{{comparison}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("report"),
        run=lambda wildcards: RUN,
    message:
        "Page: {wildcards.comparison}"
    shell:
        "HEAL_LOG={log:q} heal report {params.run} --out {output.html:q}"


rule render_viewer:
    """Repairs as a page to read: of the main methods, and of every other GEAR variant that exists already."""
    input:
        traces=list_viewed_traces,
        problems=TRAIN,
        model=list_model_files("teachers"),
        page=[f"heal/viewer/{name}" for name in heal.viewer.page.FILES],
    output:
        html=f"{RUN}/viewer/{{teacher}}_teacher_seed{{teacher_seed}}.html",
    log:
        f"{LOGS}/viewer/{{teacher}}.{{teacher_seed}}.log",
    benchmark:
        f"{TIMES}/viewer/{{teacher}}.{{teacher_seed}}.tsv"
    conda:
        CONDA
    params:
        version=get_version("view"),
        options=track_options("view"),
    message:
        "Trace viewer of the teacher {wildcards.teacher}, teacher seed {wildcards.teacher_seed}"
    shell:
        "HEAL_LOG={log:q} heal view --teacher {wildcards.teacher} --teacher-seed {wildcards.teacher_seed} --out {output.html:q}"

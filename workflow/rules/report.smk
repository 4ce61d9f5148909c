# One page with the answer, every table and every figure: no script, nothing from elsewhere, no model.


rule page:
    """The page of a comparison, and the answer in words; what the run has made besides stands there too."""
    input:
        made=lambda wildcards: [
            file
            for kind in dict.fromkeys(("main", wildcards.kind))
            for file in report_files(kind)
            if not file.endswith((".tex", ".txt"))
        ],
        captions=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("workflow/report/*.rst")),
        template="evals/report/report.html.jinja",
        code=code("evals.report.page"),
    output:
        html=reported(f"{RUN}/report/{{kind}}.html", "page", "Answer", Page="Answer, tables, figures", Methods="{kind}"),
        txt=f"{RUN}/report/{{kind}}.txt",
    log:
        f"{LOGS}/report/{{kind}}.log",
    benchmark:
        f"{TIMES}/report/{{kind}}.tsv"
    conda:
        CONDA
    params:
        run=lambda wildcards: RUN,
    message:
        "Page: {wildcards.kind}"
    shell:
        "python -m evals.report.page {params.run} --out {output.html:q} 2>&1 | tee {log:q}"

# HEAL and its baselines, from problems to tables. Run with: snakemake --cores all
# Another experiment: snakemake --cores all --configfile config/other.yaml; a first try: --config limit=40 run=try
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

# Jobs import the project from the folder they start in, so that no environment or container has to hold it.
if not Path(workflow.basedir).samefile(Path.cwd()):
    raise WorkflowError(
        f"{Path.cwd()} is not the repository, {workflow.basedir}: start Snakemake there, without --directory. To keep "
        "results elsewhere, make results/ a link."
    )


# For --sdm apptainer: built from containers/heal.def, which says how.
container: "containers/heal.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/files.smk"
include: "workflow/rules/handlers.smk"


report: "workflow/report/workflow.rst"


rule all:
    """The main comparison: tables, figures, their page, model cards, and whether the reference is reproduced."""
    input:
        list_report_files("main"),
        f"{TABLES}/reproduction.txt",
        list_pages("main"),
        list_model_cards(MAIN),


include: "workflow/rules/collect.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/traces.smk"
include: "workflow/rules/repair.smk"
include: "workflow/rules/student_passes.smk"
include: "workflow/rules/seeds.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evals.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/gates.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


onstart:
    lock_folder()
    ask_before_resampling()
    start_job_server()


onsuccess:
    print_summary()


onerror:
    print_stages()

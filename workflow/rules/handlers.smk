# What happens before the first job and after the last one: the handlers of Snakefile call these.
import fcntl
import subprocess

from heal.engines.gpu_lease import list_visible_gpus
from heal.planning.resampling import PlannedJob, check_resampling
from heal.stages import describe_stages, list_stages

FEW_JOBS = 10


def lock_folder():
    """Raises WorkflowError where another run is active in this folder. The kernel frees the lock when this one ends.

    Snakemake's own locks are off (profiles/): they outlive a kill, and then have to be removed by hand.
    """
    global LOCK  # open, and so locked, until this process ends
    LOCK = open(".snakemake.lock", "w")
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"Another run is active in {Path.cwd()}: wait for it, or stop it.")


def start_job_server():
    """Where more than a few jobs run here, in Snakemake's own environment and without GPUs: see heal/job_server.py."""
    here = workflow.is_main_process and workflow.local_exec and not workflow.deployment_settings.deployment_method
    on_cpu = EXPERIMENT.engine.device == "cpu" or not list_visible_gpus()
    jobs = len(list(workflow.dag.needrun_jobs()))
    if sys.platform == "linux" and here and on_cpu and jobs > FEW_JOBS:
        Path(LOGS).mkdir(parents=True, exist_ok=True)
        with open(f"{LOGS}/job_server.log", "w") as log:
            command = ["python", "-m", "heal.job_server", "--serve", JOB_SERVER, EXPERIMENT.engine.backend]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def ask_before_resampling():
    """Stops the run, or moves files aside, where samples that exist would be made again."""
    if not workflow.is_main_process or workflow.touch:
        return
    jobs = {}
    for job in workflow.dag.needrun_jobs():
        jobs[job] = describe_job(job)
    for job, planned in jobs.items():
        planned.causes = tuple(jobs[cause] for cause in workflow.dag.dependencies[job] if cause in jobs)
    try:
        message = check_resampling(jobs.values(), EXPERIMENT.run, allowed=MAY_RESAMPLE)
    except HealError as error:
        raise WorkflowError(str(error))
    if message:
        print(message, file=sys.stderr)


def describe_job(job):
    """A job of Snakemake's plan, without the jobs that make its input files again."""
    reason = workflow.dag.reason(job)
    reasons = [f"{path} is newer" for path in sorted(reason.updated_input)]
    reasons += [f"{path} is missing" for path in sorted(reason.missing_output)]
    reasons += [f"{path} was left incomplete" for path in sorted(reason.incomplete_output)]
    changes = {
        "forced on the command line": reason.forced,
        f"{job.rule.name} reads other files": reason.input_changed,
        f"the command line of {job.rule.name} changed": reason.code_changed or reason.params_changed,
        f"the software environment of {job.rule.name} changed": reason.software_stack_changed,
    }
    joined = []
    for other in workflow.dag.depending[job]:
        if other.rule.name == "merge_shards":
            joined += other.output
    return PlannedJob(
        job.rule.name,
        tuple(job.output),
        joined=tuple(joined),
        version=job.params.get("version"),
        options=job.params.get("options") or {},
        reasons=(*reasons, *[text for text, holds in changes.items() if holds]),
        interrupted=is_interrupted(job),
    )


def is_interrupted(job):
    """Whether a kill left the job's outputs without Snakemake's note that it had ended; it forces such files then."""
    settings = workflow.dag_settings
    by_user = settings.forceall or settings.forcetargets or settings.forcerun
    return not by_user and not workflow.dag.forcefiles.isdisjoint(job.output)


def print_stages():
    """Prints one sentence per stage of the run so far: what came out."""
    sentences = describe_stages(list_stages(Path(RUN)))
    if sentences:
        print("\n" + "\n".join(sentences), file=sys.stderr)


def print_summary():
    """Prints what came out of each stage, the main table, and whether it agrees with the reference, as the last output."""
    print_stages()
    table, agreement = Path(f"{TABLES}/main.txt"), Path(f"{TABLES}/reproduction.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nAll tables and figures: {RUN}/report/main.html", file=sys.stderr)
    if agreement.exists():
        print(f"\n{agreement.read_text()}", file=sys.stderr)

"""Check the files of models, and the access to the hub: weights, their shards, logins and licenses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from heal.config.data import Dataset
from heal.config.experiment import Experiment
from heal.config.models import HUB_ID, Model
from heal.engines.base import check_safetensors, explain_hub_fix
from heal.errors import HealError
from heal.planning.inputs import list_models
from heal.planning.preflight.findings import Caution, Findings

SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
LOGIN_STATUS = (401, 403)
HUB_TIMEOUT_S = 10


def check_weights(model: Model) -> None:
    """Raises HealError where there are no safetensors, or not all of them; pickled weights are not read."""
    if model.package:  # its GGUF file was there when its tokenizer was read
        return
    names = list_model_files(model)
    for suffix in ("config.json", ".safetensors"):
        if not any(name.endswith(suffix) for name in names):
            problem = f"no {suffix.removeprefix('.')} among its {len(names)} files"
            raise HealError(problem, where=model.path, fix="give a model with weights as safetensors (no pickle)")
    missing = find_missing_shards(names) or find_missing_in_index(Path(model.path), names)
    if missing:
        fix = "download the model again"
        raise HealError(f"{len(missing)} files are missing: {', '.join(missing[:3])}", where=model.path, fix=fix)
    if Path(model.path).is_dir():
        check_safetensors(Path(model.path))


def find_missing_shards(names: list[str]) -> list[str]:
    """model-00002-of-00003.safetensors, where another of the three is there."""
    missing = []
    for name in names:
        match = SHARD.fullmatch(name)
        if match:
            for number in range(1, int(match["count"]) + 1):
                missing.append(f"{match['stem']}-{number:05d}-of-{match['count']}.safetensors")
    return sorted(set(missing) - set(names))


def find_missing_in_index(folder: Path, names: list[str]) -> list[str]:
    """Files that the index of a local folder names and that are not there. Raises HealError for a damaged index."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        raise HealError("no `weight_map` in it", where=str(index), fix="download the file again") from None
    return sorted(named - set(names))


def list_model_files(model: Model) -> list[str]:
    """Names of the files in the model's folder or hub repository. Raises HealError where it cannot be listed."""
    if Path(model.path).is_dir():
        return [path.name for path in Path(model.path).iterdir()]
    import huggingface_hub
    import huggingface_hub.constants

    try:
        if huggingface_hub.constants.HF_HUB_OFFLINE:
            folder = huggingface_hub.snapshot_download(model.path, revision=model.revision, local_files_only=True)
            return [path.name for path in Path(folder).iterdir()]
        return huggingface_hub.HfApi().list_repo_files(model.path, revision=model.revision)
    except Exception as error:  # network, permission, unknown name: the hub's classes differ between versions
        raise explain_hub_error(error, model.path, f"https://huggingface.co/{model.path}", model.revision) from None


def explain_hub_error(error: Exception, name: str, page: str, revision: str | None) -> HealError:
    """The hub's refusal as an error that says what to do: log in, ask for access, or correct the name."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if type(error).__name__ == "GatedRepoError" or status in LOGIN_STATUS:
        fix = f"ask for access on {page}, then `hf auth login`; or set HF_TOKEN"
        return HealError(f"the hub wants a login with access to it ({status or 'gated'})", where=name, fix=fix)
    return HealError(f"cannot be listed ({type(error).__name__})", where=name, fix=explain_hub_fix(name, revision))


def check_model_access(model: Model) -> None:
    """Raises HealError where a model on the hub wants a login that is missing; other faults show in its loading."""
    if model.package or not HUB_ID.fullmatch(model.path):
        return
    try:
        list_model_files(model)
    except HealError as refusal:
        if "login" in refusal.problem:
            raise


def check_dataset_access(dataset: Dataset) -> None:
    """Raises HealError where a data set on the hub wants a login that is missing; other faults show in its loading."""
    for part in (dataset, *dataset.parts.values()):
        if part.source != "hub" or part.path is None:
            continue
        from huggingface_hub import HfApi

        try:
            HfApi().list_repo_files(part.path, repo_type="dataset", revision=part.revision)
        except Exception as error:  # as of a model
            page = f"https://huggingface.co/datasets/{part.path}"
            refusal = explain_hub_error(error, part.path, page, part.revision)
            if "login" in refusal.problem:
                raise refusal from None


def check_licenses(experiment: Experiment, field: str, model: Model) -> Findings:
    """Cautions where a hub model's license is missing in the config, or another than on the hub."""
    if Path(model.path).is_dir() or model.package or not HUB_ID.fullmatch(model.path):
        return
    if model.license is None:
        problem = "no license: the model cards of its students cannot name it"
        yield Caution(problem, where=f"{field}.license", fix=f"copy it from https://huggingface.co/{model.path}")
        return
    license_name = read_license(model)
    if license_name and license_name != model.license:
        problem = f"{model.license!r}, but the hub says {license_name!r}"
        yield Caution(problem, where=f"{field}.license", fix="copy the hub's, or say in the config why it differs")


def read_license(model: Model) -> str | None:
    """The license that the hub names; None where it names none or cannot be reached."""
    from huggingface_hub import HfApi

    try:
        card: Any = HfApi().model_info(model.path, revision=model.revision).card_data
    except Exception:  # as of its files, whose check reports it
        return None
    return card.get("license") if card else None


def uses_hub(experiment: Experiment) -> bool:
    """Whether a model or a problem set is to come from the hub."""
    for model in list_models(experiment).values():
        if not model.package and not Path(model.path).is_dir():
            return True
    problems = experiment.problems
    for dataset in (problems.train, problems.dev, *problems.test.values()):
        if any(part.source == "hub" for part in (dataset, *dataset.parts.values())):
            return True
    return False


def switch_to_cache() -> str | None:
    """Where the hub cannot be reached, makes this process use its cache alone, without minutes of retries.

    Returns what to tell the user; None where the hub answers, or where the cache is used anyway.
    """
    import httpx
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE:
        return None
    try:
        httpx.head(hub.ENDPOINT, timeout=HUB_TIMEOUT_S)
        return None
    except httpx.HTTPError:
        pass
    import datasets.config

    hub.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    return f"{hub.ENDPOINT} cannot be reached: only what is in the hub's cache here is found"

"""The reference of the config's options, its JSON schema, and the table of the methods, from their classes."""

from __future__ import annotations

import json

from heal.config.experiment import Experiment
from heal.describe import format_default, format_type, get_sentence, list_groups, list_world_groups
from heal.engines.open import list_backends
from heal.method.detectors import list_detectors
from heal.registry import discover_methods
from tools.docs.markdown import build_table


def build_schema() -> str:
    """The JSON schema of a config file, for editors; detectors and engines are listed as they are found."""
    schema = Experiment.model_json_schema()
    schema["$defs"]["Gear"]["properties"]["detector"]["enum"] = list_detectors()
    schema["$defs"]["Engine"]["properties"]["backend"]["enum"] = list_backends()
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def build_options_page() -> str:
    """Every option with type, default and sentence."""
    parts = [
        "# Every option\n",
        "*Reported*: in descriptions of the paper's body. *Ours*: our definition. "
        "`heal check --config FILE` checks a file.\n",
        "An entry of `methods` or `ablations` is its `method`, and the options that differ from the sections: "
        "`heal_random_drop: {method: heal, pure: {rule: random}}`.\n",
    ]
    for cls in [*list_groups(), *list_world_groups()]:
        rows = []
        for name, field in cls.model_fields.items():
            default = "required" if field.is_required() else f"`{format_default(field.default)}`"
            rows.append([f"`{name}`", format_type(field.annotation), default, get_sentence(field)])
        parts.append(f"## {cls.__name__}\n\n{build_table(['option', 'type', 'default', 'meaning'], rows)}")
    return "\n".join(parts)


def build_methods_table() -> str:
    """Every method with what it trains on, paper, options and what differs."""
    rows = []
    for name, method in sorted(discover_methods().items()):
        options = []
        for option, field in method.Options.model_fields.items():
            shared = option in Experiment.model_fields
            options.append(f"`{option}`" if shared else f"`{option}` (`{format_default(field.default)}`)")
        rows.append([f"`{name}`", method.summary, method.paper, ", ".join(options), method.differs])
    return build_table(["method", "trains on", "paper", "options (default)", "what differs here"], rows)


def build_sources_table() -> str:
    """What each baseline takes from its paper, and where that was checked."""
    rows = []
    for name, method in sorted(discover_methods().items()):
        for constant, checked in vars(method).get("sources", {}).items():  # a control of HEAL inherits none
            rows.append([f"`{name}`", method.paper, constant, checked])
    return build_table(["method", "paper", "constant or rule", "checked in"], rows)


def build_defaults_table() -> str:
    """Every option whose sentence says that its default is reported, or ours."""
    rows = []
    for cls in list_groups():
        for name, field in cls.model_fields.items():
            sentence = get_sentence(field)
            for status in ("reported", "ours"):
                if f"({status}" in sentence:
                    rows.append([f"`{cls.__name__}.{name}`", f"`{format_default(field.default)}`", status, sentence])
                    break
    return build_table(["option", "default", "status", "meaning"], rows)

"""The token that ends an assistant's turn in the chat template: engines stop there, and training uses it as EOS.

Base models often declare another EOS (<|endoftext|>) than their template writes (<|im_end|>). A student that never sees
its EOS in training never stops, and an untrained one that is not stopped there is cut off at its token limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from heal.errors import HealError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = "current date"
"""What a template that asks for the time is given, to find out that it does."""
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def find_end_token_id(tokenizer: PreTrainedTokenizerBase, where: str, template: Mapping[str, Any] = NO_OPTIONS) -> int:
    """The id of the token with which the chat template closes an assistant's turn. template: its options.

    Raises HealError without a template, for one that cannot be rendered or writes today's date, and for one that closes
    the turn with no special token.
    """
    if not tokenizer.chat_template:
        fix = "add a chat_template.jinja to that folder, or use the instruct variant of the model"
        raise HealError("the tokenizer has no chat template", where=where, fix=fix)
    rendered = render_turns(tokenizer, where, template)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    special_ids = list_special_ids(tokenizer)
    positions = [position for position, token in enumerate(ids) if token in special_ids]
    if not positions or tokenizer.decode(ids[positions[-1] + 1 :]).strip():
        fix = "end the assistant's turn with the EOS token in chat_template.jinja"
        raise HealError("the chat template closes the assistant's turn with no special token", where=where, fix=fix)
    return int(ids[positions[-1]])


def list_special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The control tokens: those added as special, which `all_special_ids` may lack, and EOS."""
    return {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {tokenizer.eos_token_id}


def render_turns(tokenizer: PreTrainedTokenizerBase, where: str, template: Mapping[str, Any]) -> str:
    """A user's and an assistant's turn in the chat template. Raises HealError where it fails or writes the date."""
    import jinja2

    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "1"}]
    render = partial(tokenizer.apply_chat_template, tokenize=False, **template)
    try:
        rendered = render(turns)
        dated = render(turns, strftime_now=write_date)
        dated += render(turns[:1], strftime_now=write_date, add_generation_prompt=True)
    except (jinja2.TemplateError, TypeError) as error:
        fix = "use a template that takes a user's and an assistant's turn, or set the template_options that it needs"
        raise HealError(f"the chat template fails: {error}", where=where, fix=fix) from None
    if DATE in dated:
        fix = "fix the date in chat_template.jinja, or by the option for it, as in template_options: {date_string: …}"
        raise HealError("the chat template writes the current date or time into every prompt", where=where, fix=fix)
    return rendered


def write_date(_: str) -> str:
    """The clock of a template: DATE for every format."""
    return DATE


def find_end_token(tokenizer: PreTrainedTokenizerBase, where: str, template: Mapping[str, Any] = NO_OPTIONS) -> str:
    """The token with which the chat template closes an assistant's turn; training uses it as EOS.

    Raises HealError as `find_end_token_id`, and where it is the padding token or there is no padding token.
    """
    end = find_end_token_id(tokenizer, where, template)
    if tokenizer.pad_token_id is None or end == tokenizer.pad_token_id:
        problem = f"the padding token ({tokenizer.pad_token}) must exist and differ from the one that ends a turn"
        raise HealError(problem, where=where, fix="set pad_token in tokenizer_config.json to another special token")
    return str(tokenizer.convert_ids_to_tokens(end))

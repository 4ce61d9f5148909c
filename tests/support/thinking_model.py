"""A tiny random model with the mini world's words and two tags more, under several chat templates."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from heal.worlds.mini.tokenizer import CHAT_TEMPLATE, build_tokenizer

OPENS = CHAT_TEMPLATE.replace("{{ '<|assistant|>' }}{% endif %}", "{{ '<|assistant|><think>\n' }}{% endif %}")
STRIPS = CHAT_TEMPLATE.replace(
    "{{ message['content'] }}{{ '<|end", "{{ message['content'].split('</think>')[-1] }}{{ '<|end"
)
DOUBLES = CHAT_TEMPLATE.replace("{% generation %}", "{% generation %}{{ '<think>\n' }}")


def save_model(folder: Path, template: str) -> Path:
    tokenizer = build_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"]["\n"] = len(state["model"]["vocab"])
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    set_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    return folder

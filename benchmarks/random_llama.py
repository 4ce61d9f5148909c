"""Random Llama models with a tokenizer of whole words, for benchmarks of engines: weights do not change their speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ONE_LAYER: dict[str, Any] = {
    **{"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 32},
    **{"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1},
    "max_position_embeddings": 32768,
}
"""Sizes whose arithmetic takes no time: what is measured is the engine around it."""
LLAMA_135M: dict[str, Any] = {
    **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536},
    **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    **{"max_position_embeddings": 8192, "tie_word_embeddings": True},
}
"""Sizes of SmolLM2-135M."""


def save_llama(folder: Path, sizes: dict[str, Any]) -> str:
    """Saves a random Llama of these sizes in float32, whose tokenizer ends a turn with <|im_end|>."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = ["<|im_end|>", "<|pad|>", *(f"w{number}" for number in range(sizes["vocab_size"] - 2))]
    text = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="w0"))
    template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    PreTrainedTokenizerFast(
        tokenizer_object=text, eos_token="<|im_end|>", pad_token="<|pad|>", chat_template=template
    ).save_pretrained(folder)
    LlamaForCausalLM(LlamaConfig(eos_token_id=0, pad_token_id=1, **sizes)).save_pretrained(folder)
    return str(folder)

"""A tiny random base model: its tokenizer calls <|endoftext|> EOS, its chat template ends turns with <|im_end|>."""

from __future__ import annotations

from pathlib import Path

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m.role }} {{ m.content }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant "
    "{% if enable_thinking is defined and enable_thinking is false %}<think> </think> {% endif %}{% endif %}"
)
WORDS = [END_OF_TEXT, IM_START, IM_END, "?", "user", "assistant", "<think>", "</think>"]


def save_base_model(
    folder: Path, *, positions: int = 256, template: str = TEMPLATE, vocabulary: int = 64, ends: bool = True
) -> str:
    """Saves the model and its tokenizer, of `vocabulary` words; returns the folder.

    It never writes <|endoftext|>, and <|im_end|> at about every twentieth token; not at all where `ends` is false.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = [*WORDS, *(f"w{number}" for number in range(vocabulary - len(WORDS)))]
    entries = {word: number for number, word in enumerate(words)}
    text = Tokenizer(models.WordLevel(entries, unk_token="?"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=text,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START, IM_END],
        chat_template=template,
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=entries[END_OF_TEXT],
        initializer_range=0.02,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # the first dimension is the same for every token, and says how likely the end tokens are
        model.model.embed_tokens.weight[:, 0] = 1.0
        head = model.lm_head.weight
        head[:, 0] = 0.0
        head[entries[END_OF_TEXT], 0] = -5.0
        head[entries[IM_END], 0] = 0.1 if ends else -5.0
    model.save_pretrained(folder)
    return str(folder)

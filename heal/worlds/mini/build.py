"""Build a mini model from nothing: a teacher (one per setting of the premises) or the base student.

Reads nothing but this package's code. Writes a Hugging Face folder (bf16 weights, config, tokenizer, chat template)
and build.json, which says how it came about. One thread; the same machine and seed give the same weights.

    python -m heal.worlds.mini.build teacher|teacher_confident|teacher_guided|teacher_blurred|student [--out DIR] [--tokens N]
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from heal.command import command_parser
from heal.worlds.mini.puzzles import generate
from heal.worlds.mini.teacher_text import TEACHERS, Example, student_example, teacher_example
from heal.worlds.mini.tokenizer import ASSISTANT, END, PAD, PIECE, USER, build_tokenizer, vocabulary

MODELS = Path(__file__).parent / "models"
SHAPES = {
    "teacher": {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192},
    "student": {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256},
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: tokens in all (padding included), tokens per batch, peak learning rate.

    fused: AdamW's fused kernel is faster and rounds otherwise; the shipped student was made without it.
    """

    tokens: int
    batch_tokens: int
    learning_rate: float
    fused: bool


RECIPES = {
    "teacher": Recipe(11_000_000, 2048, 2e-3, fused=True),
    "teacher_confident": Recipe(11_000_000, 2048, 2e-3, fused=True),
    "teacher_guided": Recipe(11_000_000, 2048, 2e-3, fused=True),
    "teacher_blurred": Recipe(11_000_000, 2048, 2e-3, fused=True),
    "student": Recipe(8_000_000, 4096, 3e-3, fused=False),
}
SEED = 1
POOL_TOKENS = 131_072
WARMUP_STEPS = 100
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
IGNORED = -100

Ids = tuple[list[int], list[int]]


def encode(example: Example, vocab: dict[str, int]) -> Ids:
    """Token ids of a training text and its labels, IGNORED where it is not in the loss."""
    ids = [vocab[USER], *(vocab[piece] for piece in re.findall(PIECE, example.user)), vocab[ASSISTANT]]
    labels = [IGNORED] * len(ids)
    for text, in_loss in example.parts:
        part = [vocab[piece] for piece in re.findall(PIECE, text)]
        ids += part
        labels += part if in_loss else [IGNORED] * len(part)
    if example.ends:
        ids.append(vocab[END])
        labels.append(vocab[END])
    return ids, labels


def batches(
    draw_example: Callable[[], Example], vocab: dict[str, int], rng: random.Random, batch_tokens: int
) -> Iterator[list[Ids]]:
    """Endless batches of texts of similar length, at most `batch_tokens` tokens each, in random order."""
    while True:
        pool: list[Ids] = []
        total = 0
        while total < POOL_TOKENS:
            pool.append(encode(draw_example(), vocab))
            total += len(pool[-1][0])
        pool.sort(key=lambda pair: len(pair[0]))
        cut: list[list[Ids]] = [[]]
        for pair in pool:
            if (len(cut[-1]) + 1) * len(pair[0]) > batch_tokens:
                cut.append([])
            cut[-1].append(pair)
        rng.shuffle(cut)
        yield from cut


def padded(batch: list[Ids], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and labels, each (texts, longest text), padded on the right (causal attention then needs no mask)."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in batch])
    return ids, labels


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the tokens in the loss."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    chosen = target != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[chosen]), target[chosen])


def new_model(shape: str, vocab: dict[str, int]) -> LlamaForCausalLM:
    """A Llama with random weights."""
    config = LlamaConfig(
        vocab_size=len(vocab),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=vocab[END],
        pad_token_id=vocab[PAD],
        initializer_range=0.05,
        **SHAPES[shape],
    )
    return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, data: Iterator[list[Ids]], recipe: Recipe, pad: int) -> float:
    """AdamW with warm-up and linear decay over the recipe's tokens; returns the mean loss (nats) of 100 last steps."""
    rate = recipe.learning_rate
    settings = {"betas": BETAS, "weight_decay": WEIGHT_DECAY, "fused": recipe.fused}
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, **settings)
    seen, step, began = 0, 0, time.monotonic()
    recent: list[float] = []
    model.train()
    while seen < recipe.tokens:
        ids, labels = padded(next(data), pad)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARMUP_STEPS) * max(0.01, 1 - seen / recipe.tokens)
        loss = loss_of(model, ids, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += ids.numel()
        step += 1
        recent = [*recent[-99:], loss.item()]
        if step % 400 == 0:
            loss_nats, speed = sum(recent) / len(recent), seen / (time.monotonic() - began)
            print(f"step {step}, {seen / 1e6:.1f} M tokens, loss {loss_nats:.4f}, {speed:.0f}/s", flush=True)
    return sum(recent) / len(recent)


def build(name: str, out: Path, tokens: int | None = None, seed: int = SEED) -> None:
    """Train one model by its recipe (`tokens` overrides its length) and write its folder."""
    recipe = replace(RECIPES[name], tokens=tokens or RECIPES[name].tokens)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    rng = random.Random(f"{name} {seed}")
    vocab = vocabulary()
    model = new_model("student" if name == "student" else "teacher", vocab)
    if name == "student":
        puzzles = iter(generate("train", 2000 + recipe.tokens // 60, seed=1_000_003 + seed, hard_share=0.3))
        data = batches(lambda: student_example(next(puzzles), rng), vocab, rng, recipe.batch_tokens)
    else:
        data = batches(lambda: teacher_example(TEACHERS[name], rng), vocab, rng, recipe.batch_tokens)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, {len(vocab)} tokens in the vocabulary")
    began = time.monotonic()
    loss = train(model, data, recipe, vocab[PAD])
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(eos_token_id=vocab[END], pad_token_id=vocab[PAD])
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    build_tokenizer().save_pretrained(out)
    record = {
        "model": name,
        "command": f"python -m heal.worlds.mini.build {name} --tokens {recipe.tokens}",
        "seed": seed,
        "tokens": recipe.tokens,
        "runtime_s": round(time.monotonic() - began),
        "torch": torch.__version__,
        "final_loss_nats": round(loss, 5),
    }
    (out / "build.json").write_text(json.dumps(record, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = command_parser(__doc__)
    parser.add_argument("model", choices=[*TEACHERS, "student"], help="which model")
    parser.add_argument("--out", type=Path, help="folder to write (default: the shipped one)")
    parser.add_argument("--tokens", type=int, help="training tokens, padding included")
    args = parser.parse_args()
    build(args.model, args.out or MODELS / args.model, args.tokens)


if __name__ == "__main__":
    main()

"""Train a mini model from random weights: a teacher (one per setting of the premises) or the base student.

Reads only this package's code. Writes a Hugging Face folder (bf16 weights, config, tokenizer, chat template),
build.json (command, commit, seed, final loss), a model card and the license. One thread; the same machine and seed give
the same weights.

    python -m heal.worlds.mini.build teacher                 # 13 minutes: writes the shipped folder again
    python -m heal.worlds.mini.build student --out FOLDER --tokens 100000
    python -m heal.worlds.mini.build teacher_confident --show 10      # ten of its training texts
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from heal.provenance import describe_commit, read_git_state
from heal.worlds.mini.cards import write_card
from heal.worlds.mini.puzzles import generate
from heal.worlds.mini.teacher_text import TEACHERS, Example, write_student_example, write_teacher_example
from heal.worlds.mini.tokenizer import ASSISTANT, END, PAD, USER, build_tokenizer, build_vocabulary, split_pieces

MODELS = Path(__file__).parent / "models"
SHAPES = {
    "teacher": {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192},
    "student": {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256},
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    tokens: int
    """Training tokens, padding included."""
    batch_tokens: int
    """Tokens per batch at most."""
    learning_rate: float
    """Peak learning rate."""
    fused: bool
    """Whether AdamW's fused kernel is used: faster, with other rounding; the shipped student was trained without it."""


TEACHER_RECIPE = Recipe(16_000_000, 2048, 2e-3, fused=True)
RECIPES = {name: TEACHER_RECIPE for name in TEACHERS} | {
    "teacher_blurred": replace(TEACHER_RECIPE, tokens=20_000_000),  # with 16 M it loses its place in easy chains
    "student": Recipe(8_000_000, 4096, 3e-3, fused=False),
}
SEED = 1
POOL_TOKENS = 131_072
WARMUP_STEPS = 100
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
IGNORED = -100

Encoded = tuple[list[int], list[int]]
"""Token ids of a training text and its labels, IGNORED where a token is not in the loss."""


def encode(example: Example, vocab: dict[str, int]) -> Encoded:
    """The training text with its special tokens."""

    def encode_text(text: str) -> list[int]:
        return [vocab[piece] for piece in split_pieces(text)]

    ids = [vocab[USER], *encode_text(example.user), vocab[ASSISTANT]]
    labels = [IGNORED] * len(ids)
    for text, in_loss in example.parts:
        part = encode_text(text)
        ids += part
        labels += part if in_loss else [IGNORED] * len(part)
    if example.ends:
        ids.append(vocab[END])
        labels.append(vocab[END])
    return ids, labels


def iterate_batches(
    write_example: Callable[[], Example], vocab: dict[str, int], rng: random.Random, batch_tokens: int
) -> Iterator[list[Encoded]]:
    """Endless batches of texts of similar length, at most `batch_tokens` tokens each, in random order."""
    while True:
        pool: list[Encoded] = []
        total = 0
        while total < POOL_TOKENS:
            pool.append(encode(write_example(), vocab))
            total += len(pool[-1][0])
        pool.sort(key=lambda pair: len(pair[0]))
        batches: list[list[Encoded]] = [[]]
        for pair in pool:
            if (len(batches[-1]) + 1) * len(pair[0]) > batch_tokens:
                batches.append([])
            batches[-1].append(pair)
        rng.shuffle(batches)
        yield from batches


def pad_batch(batch: list[Encoded], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and labels, each (texts, longest text), padded on the right (causal attention then needs no mask)."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in batch])
    return ids, labels


def compute_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the tokens in the loss."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    in_loss = target != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[in_loss]), target[in_loss])


def make_model(shape: str, vocab: dict[str, int]) -> LlamaForCausalLM:
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


def train(model: LlamaForCausalLM, data: Iterator[list[Encoded]], recipe: Recipe, pad: int) -> float:
    """AdamW with warm-up and linear decay over the recipe's tokens; returns the mean loss (nats) of the last 100."""
    rate = recipe.learning_rate
    settings = {"betas": BETAS, "weight_decay": WEIGHT_DECAY, "fused": recipe.fused}
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, **settings)
    tokens = 0
    optimizer_steps = 0
    recent: list[float] = []
    began = time.monotonic()
    model.train()
    while tokens < recipe.tokens:
        ids, labels = pad_batch(next(data), pad)
        for group in optimizer.param_groups:
            warmup = min(1.0, (optimizer_steps + 1) / WARMUP_STEPS)
            group["lr"] = rate * warmup * max(0.01, 1 - tokens / recipe.tokens)
        loss = compute_loss(model, ids, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += ids.numel()
        optimizer_steps += 1
        recent = [*recent[-99:], loss.item()]
        if optimizer_steps % 400 == 0:
            loss_nats = sum(recent) / len(recent)
            speed = tokens / (time.monotonic() - began)
            progress = f"optimizer step {optimizer_steps}, {tokens / 1e6:.1f} M tokens"
            print(f"{progress}, loss {loss_nats:.4f}, {speed:.0f} tokens/s", flush=True)
    return sum(recent) / len(recent)


def build(name: str, out: Path, tokens: int | None = None, seed: int = SEED) -> None:
    """Train one model by its recipe (`tokens` overrides its length) and write its folder."""
    recipe = replace(RECIPES[name], tokens=tokens or RECIPES[name].tokens)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    rng = random.Random(f"{name} {seed}")
    vocab = build_vocabulary()
    model = make_model("student" if name == "student" else "teacher", vocab)
    if name == "student":
        puzzles = iter(generate("train", 2000 + recipe.tokens // 60, seed=1_000_003 + seed, hard_share=0.3))
        data = iterate_batches(lambda: write_student_example(next(puzzles), rng), vocab, rng, recipe.batch_tokens)
    else:
        data = iterate_batches(lambda: write_teacher_example(TEACHERS[name], rng), vocab, rng, recipe.batch_tokens)
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
        "commit": describe_commit(read_git_state()),
        "seed": seed,
        "tokens": recipe.tokens,
        "runtime_s": round(time.monotonic() - began),
        "torch": torch.__version__,
        "final_loss_nats": round(loss, 5),
    }
    (out / "build.json").write_text(json.dumps(record, indent=2) + "\n")
    write_card(out)


def show_texts(name: str, count: int) -> None:
    """Prints training texts of a teacher; [+] marks the parts that are in the loss."""
    rng = random.Random(0)
    for _ in range(count):
        example = write_teacher_example(TEACHERS[name], rng)
        print(example.user)
        for text, in_loss in example.parts:
            print(f"[{'+' if in_loss else ' '}] {text}")
        print("\n---\n")


def main() -> None:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m heal.worlds.mini.build", description=description)
    parser.add_argument("model", choices=[*TEACHERS, "student"], help="model to train")
    parser.add_argument("--out", type=Path, help="folder to write (default: the shipped one)")
    parser.add_argument("--tokens", type=int, help="training tokens, padding included (default: the recipe's)")
    parser.add_argument("--show", type=int, metavar="N", help="print N training texts of a teacher instead")
    args = parser.parse_args()
    if args.show and args.model in TEACHERS:
        show_texts(args.model, args.show)
    else:
        build(args.model, args.out or MODELS / args.model, args.tokens)


if __name__ == "__main__":
    main()

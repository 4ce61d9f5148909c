"""Memory that training a student takes: weights, gradients, AdamW, activations and language model head, per GPU.

Reads a model's config only, so `heal check` can ask before any weight is loaded; `heal train` decides by it whether
activations are stored or computed again. Holds for dense decoders with gated feed-forward layers (Qwen, Llama).

Activations were measured: the bytes that autograd keeps for the backward pass of transformers 5.19 under TRL's fused
head, over twenty shapes of Llama and Qwen3 (tests/training/test_memory.py repeats it). The terms of FSDP and
distillation are derived from the code, not measured. A GPU adds its allocator's fragmentation and temporaries:
USABLE_SHARE leaves room for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heal.config.models import Train

USABLE_SHARE = 0.8
"""Share of a GPU's memory that an estimate may fill (ours)."""
FLOAT32_BYTES = 4
HEAD_TILE = (4096, 32768)
"""(tokens, vocabulary entries) of a tile of logits in TRL's fused head (trl.kernels.chunked_logprob, 1.16)."""
DISTILLED_LOGIT_BYTES = 40
"""Bytes per token and vocabulary entry of TRL's GKD loss: ten float32 tensors of logits and log-probabilities."""
ADAMW_BYTES = 8
"""Two float32 moments per trained parameter."""


@dataclass(frozen=True)
class ActivationBytes:
    """Bytes that one layer keeps per token, per unit of each width."""

    hidden: float
    queries: float
    keys: float
    feed_forward: float


# Measured; queries and keys are normalized as in Qwen3, without which a layer keeps up to a quarter less.
ACTIVATIONS_32_BIT = ActivationBytes(hidden=23.5, queries=16.6, keys=16.2, feed_forward=16.1)
ACTIVATIONS_16_BIT = ActivationBytes(hidden=25.9, queries=10.8, keys=9.8, feed_forward=8.1)
"""Under autocast: the residual stream and the norms stay float32."""
LAST_NORM_BYTES = 16
"""Bytes that the last norm and the fused head keep per token and hidden width."""


@dataclass(frozen=True)
class DecoderShape:
    """Widths of a decoder. queries, keys: of all heads together."""

    layers: int
    hidden: int
    queries: int
    keys: int
    feed_forward: int
    vocabulary: int
    tied: bool

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer's linear maps."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 3 * self.hidden * self.feed_forward

    @property
    def head_parameters(self) -> int:
        """Weights of the language model head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights but norms and biases."""
        return self.layers * self.layer_parameters + self.head_parameters * (1 if self.tied else 2)

    def count_adapter_parameters(self, rank: int) -> int:
        """Weights of LoRA adapters on every linear map of the layers."""
        attention = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.feed_forward))


def read_shape(config: Any) -> DecoderShape:
    """The widths in a transformers config."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    return DecoderShape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        queries=heads * head_dim,
        keys=key_heads * head_dim,
        feed_forward=text.intermediate_size,
        vocabulary=text.vocab_size,
        tied=bool(text.tie_word_embeddings),
    )


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on each GPU of one training."""

    weights: int
    """Weights, their 16-bit copies under autocast, and with FSDP the layers that are gathered at a time."""
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass keeps for the backward pass."""
    head: int
    """Tiles of logits and the head's own gradient; with distillation all logits."""
    teacher: int = 0
    """Weights of the teacher that is distilled."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.head + self.teacher

    def fits(self, gpu_bytes: float) -> bool:
        """Whether a GPU of so many bytes holds it, with room for temporaries (USABLE_SHARE)."""
        return self.total <= USABLE_SHARE * gpu_bytes


def estimate_training_memory(
    shape: DecoderShape,
    options: Train,
    tokens: int,
    *,
    gpus: int = 1,
    recompute: bool,
    teacher: DecoderShape | None = None,
) -> TrainingMemory:
    """Bytes on each GPU while a model of this shape is trained.

    tokens: of one forward pass on one GPU, padding included: `max_length` times the micro-batch size. gpus: the student
    is sharded over them (FSDP). recompute: whether activations are computed again in the backward pass. teacher: the
    shape of the model that is distilled.
    """
    half = options.dtype == "bfloat16"
    frozen_bytes = 2 if half else FLOAT32_BYTES
    trained = shape.parameters
    weights = FLOAT32_BYTES * shape.parameters
    if options.lora:
        trained = shape.count_adapter_parameters(options.lora.rank)
        weights = frozen_bytes * shape.parameters + FLOAT32_BYTES * trained
    weights //= gpus
    if half and gpus == 1 and not options.lora:
        weights += 2 * shape.parameters  # autocast keeps a 16-bit copy of every weight until the backward pass ends
    if gpus > 1:
        # FSDP gathers a layer while it computes another, and embeddings and head for the whole pass.
        weights += frozen_bytes * (2 * shape.layer_parameters + 2 * shape.head_parameters)
    return TrainingMemory(
        weights=weights,
        gradients=FLOAT32_BYTES * trained // gpus,
        optimizer=ADAMW_BYTES * trained // gpus,
        activations=estimate_activation_bytes(shape, options, tokens, gpus=gpus, recompute=recompute),
        head=estimate_head_bytes(shape, options, tokens, distilled=teacher is not None),
        teacher=frozen_bytes * teacher.parameters if teacher else 0,
    )


def estimate_activation_bytes(
    shape: DecoderShape, options: Train, tokens: int, *, gpus: int = 1, recompute: bool
) -> int:
    """Bytes that one forward pass over so many tokens keeps for the backward pass.

    Grows linearly with the tokens: fused attention keeps no matrix of token pairs, the fused head no logits.
    """
    half = options.dtype == "bfloat16"
    width_bytes = ACTIVATIONS_16_BIT if half else ACTIVATIONS_32_BIT
    per_layer = (
        width_bytes.hidden * shape.hidden
        + width_bytes.queries * shape.queries
        + width_bytes.keys * shape.keys
        + width_bytes.feed_forward * shape.feed_forward
    )
    layers = per_layer * shape.layers
    if recompute:
        stream_bytes = 2 if half and gpus > 1 else FLOAT32_BYTES  # autocast leaves the residual stream, FSDP does not
        layers = stream_bytes * shape.hidden * shape.layers + per_layer  # each layer's input, and one layer in full
    return round(tokens * (layers + LAST_NORM_BYTES * shape.hidden))


def estimate_head_bytes(shape: DecoderShape, options: Train, tokens: int, *, distilled: bool) -> int:
    """Bytes of logits, and of the gradient that the head collects in float32 before it is added to the others."""
    if distilled:
        return DISTILLED_LOGIT_BYTES * tokens * shape.vocabulary
    tile = min(tokens, HEAD_TILE[0]) * min(shape.vocabulary, HEAD_TILE[1]) * FLOAT32_BYTES
    return tile + (0 if options.lora else FLOAT32_BYTES * shape.head_parameters)

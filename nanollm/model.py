"""The complete Transformer, to be read from top to bottom.

    ids (B, T) → embedding (B, T, D) → num_layers × Block → LayerNorm → unembedding → logits (B, T, V)

A decoder-only Transformer (Vaswani et al. 2017, "Attention Is All You Need", without the encoder) with pre-norm
LayerNorm (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", §2.3), rotary position embeddings
(Su et al. 2021, "RoFormer") and tied input and output embeddings (Press & Wolf 2017, "Using the Output Embedding to
Improve Language Models").

Shapes in comments: B batch size, T characters in a window, D embedding_dim, H attention heads of width K = D / H,
F ffn_hidden_dim, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanollm.config import EPSILON, ROTARY_BASE, ModelConfig
from nanollm.errors import InputError


@dataclass
class Trace:
    """Activations recorded by forward(): pass an empty Trace, then read its lists, which have one tensor per layer."""

    attention: list[Tensor] = field(default_factory=list)  # (B, H, T, T): row t sums to 1 over columns ≤ t
    head_outputs: list[Tensor] = field(default_factory=list)  # (B, H, T, K): before the output projection
    residual: list[Tensor] = field(default_factory=list)  # (B, T, D): before each layer, and after the last one
    weights: bool = True  # False leaves `attention` empty, so that no (T, T) matrix is computed


class Cache:
    """Key-value cache: forward() then only computes the new characters.

    It is valid for one window: at most context_length characters, each at a fixed position.
    """

    def __init__(self, config: ModelConfig, batch_size: int = 1, device: torch.device | None = None) -> None:
        shape = (config.num_layers, batch_size, config.heads, config.context_length, config.head_dim)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.length = 0  # characters cached so far

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values (B, H, T, K); return all of them (B, H, length + T, K)."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class LayerNorm(nn.Module):
    """Layer normalization with a gain and no bias: (x - mean) / sqrt(variance + 1e-5) · gain (Ba et al. 2016).

    Each character's vector gets mean 0 and variance 1, then a learned scale. The bias of the original is omitted
    because the layers that read the result can learn one.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x (..., D) over its last dimension."""
        return F.layer_norm(x, x.shape[-1:], self.gain, eps=EPSILON)


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention: each character takes information from itself and earlier characters.

    Vaswani et al. 2017, §3.2.2, with rotary positions or QK normalization if the config has them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.heads, config.head_dim
        self.qk_norm = config.qk_norm
        self.compiled_kernel: Callable[[Tensor, Tensor | None, bool], Tensor] | None = None  # set for training on CPUs
        self.qkv = nn.Linear(config.embedding_dim, 3 * config.embedding_dim, bias=False)
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim)

    def forward(
        self, x: Tensor, freqs_cis: Tensor | None, layer: int, trace: Trace | None, cache: Cache | None
    ) -> Tensor:
        """Return what attention adds to the residual stream (B, T, D), given the normalized stream x (B, T, D).

        `freqs_cis` (T, K / 2) rotates queries and keys, see rotary_frequencies(); it is None with learned positions.
        With a cache, the T characters follow those already cached for this layer.
        """
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.num_heads, self.head_dim)  # queries, keys and values of each head
        plain = self.training and trace is None and cache is None and qkv.dtype == torch.float32
        if self.compiled_kernel is not None and plain:
            return self.output(self.compiled_kernel(qkv, freqs_cis, self.qk_norm).flatten(2))  # the same, but faster
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, T, 3, H, K) → (3, B, H, T, K)
        if self.qk_norm:
            q, k = rms_normalize(q), rms_normalize(k)
        if freqs_cis is not None:
            q, k = rotate(q, freqs_cis), rotate(k, freqs_cis)
        if cache is not None:
            k, v = cache.extend(layer, k, v)  # (B, H, S, K) with S ≥ T
        needs_weights = trace is not None and trace.weights
        has_no_past = k.shape[2] == T
        if not needs_weights and has_no_past and (q.dtype == torch.float32 or q.is_cuda):
            head_outputs = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, K)
        else:
            weights = attention_weights(q, k)  # (B, H, T, S)
            head_outputs = weights @ v  # (B, H, T, K)
            if trace is not None and needs_weights:
                trace.attention.append(weights)
        if trace is not None:
            trace.head_outputs.append(head_outputs)
        heads = head_outputs.transpose(1, 2).reshape(B, T, D)  # (B, H, T, K) → (B, T, H · K = D): concatenated
        return self.output(heads)


def rms_normalize(x: Tensor) -> Tensor:
    """Scale each vector of x (..., K) to a mean square of 1, so that QKᵀ / √K is √K times the cosine of their angle.

    Henry et al. 2020, "Query-Key Normalization for Transformers". It bounds the attention scores, which allows a higher
    learning rate.
    """
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON)


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """Causal attention weights softmax(QKᵀ / √K) (Vaswani et al. 2017, §3.2.1): (B, H, T, S) for q (B, H, T, K).

    k is (B, H, S, K), and the T queries belong to the last T of its S characters. Where the weights themselves are not
    needed, CausalSelfAttention uses PyTorch's fused kernel, which never stores them: forward and backward take half the
    time (10.7 vs. 17.7 ms for a layer of medium, batch size 32, float32, two CPU cores). In bfloat16 on a CPU the
    backward pass of that kernel is slower (24.0 vs. 5.3 ms), so this function is used there as well.
    """
    T, S = q.shape[2], k.shape[2]
    scores = (q / math.sqrt(q.shape[3])) @ k.transpose(-2, -1)  # (B, H, T, S)
    if T > 1:  # a single query is the last character: nothing to mask
        scores = scores + torch.full((T, S), -torch.inf, dtype=q.dtype, device=q.device).triu(S - T + 1)
    return scores.softmax(dim=-1)


class FeedForward(nn.Module):
    """Position-wise feed-forward network with ReLU (Vaswani et al. 2017, §3.3): each character is processed alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.embedding_dim, config.ffn_hidden_dim, bias=False)
        self.down = nn.Linear(config.ffn_hidden_dim, config.embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return what it adds to the residual stream (B, T, D), given the normalized stream x (B, T, D)."""
        return self.down(F.relu(self.up(x)))  # (B, T, D) → (B, T, F) → (B, T, D)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014), with the probability rounded to a multiple of 1/256.

    Each value is decided by one random byte, and one 64-bit draw yields eight of them. nn.Dropout draws per value: with
    medium, which applies dropout twelve times a step, it took 4.0 ms instead of 0.6 ms (two CPU cores).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold = round(probability * 256)  # bytes below it drop their value

    def forward(self, x: Tensor) -> Tensor:
        """Zero random values of x and scale up the others. In eval mode, return x itself."""
        if not self.training or not self.threshold:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        keep = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.threshold
        return x * (keep.to(x.dtype) * (256 / (256 - self.threshold)))


class Block(nn.Module):
    """One Transformer layer: attention, then feed-forward. Each reads the normalized residual stream and adds to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(config.embedding_dim)
        self.attention = CausalSelfAttention(config)
        self.feed_forward_norm = LayerNorm(config.embedding_dim)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, freqs_cis: Tensor | None, layer: int, trace: Trace | None, cache: Cache | None
    ) -> Tensor:
        """Return the residual stream (B, T, D) after this layer. Arguments as in CausalSelfAttention.forward()."""
        x = x + self.dropout(self.attention(self.attention_norm(x), freqs_cis, layer, trace, cache))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class TransformerLanguageModel(nn.Module):
    """A language model: for each character of a text, the logits of the character that follows."""

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        num_layers: int,
        ffn_hidden_dim: int,
        *,
        num_heads: int | None = None,
        context_length: int = 128,
        dropout: float = 0.0,
        position: str = "rotary",
        qk_norm: bool = False,
    ) -> None:
        """Create a model with random weights. Call set_seed() before to make them reproducible.

        The arguments are the fields of ModelConfig. Raises InputError if one is invalid or they do not fit together.
        """
        super().__init__()
        self.config = config = ModelConfig(
            vocab_size, embedding_dim, num_layers, ffn_hidden_dim, num_heads, context_length, dropout, position, qk_norm
        )
        learned = config.position == "learned"
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.positions = nn.Embedding(config.context_length, config.embedding_dim) if learned else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = LayerNorm(config.embedding_dim)
        self._initialize()

    @classmethod
    def from_config(cls, config: ModelConfig) -> TransformerLanguageModel:
        """Create a model with random weights from a config."""
        return cls(**asdict(config))

    def _initialize(self) -> None:
        """Draw small weights, so that the untrained model predicts all characters about equally: loss ≈ ln V.

        The projections that write to the residual stream are scaled down by the square root of their number, so that
        the variance of the stream does not grow with depth (Radford et al. 2019, §2.3).
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * len(self.blocks)) if writes else 0.02)

    def forward(self, ids: Tensor, trace: Trace | None = None, cache: Cache | None = None) -> Tensor:
        """Return the logits (B, T, V) of the character after each of ids (B, T). Row t depends on ids[:, : t + 1] only.

        With a trace, activations are recorded in it. With a cache, ids are the characters after the cached ones and are
        added to it. Raises InputError if the window would exceed context_length.
        """
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.context_length:
            raise InputError(
                f"{end} characters exceed the context_length of this model ({self.config.context_length}). "
                "Pass fewer characters."
            )
        x = self.embedding(ids)  # (B, T) → (B, T, D)
        if self.positions is not None:
            x = x + self.positions.weight[start:end]
        x = self.run_blocks(x, 0, start, trace, cache)
        if cache is not None:
            cache.length = end
        return self.unembed(x)

    def run_blocks(
        self, x: Tensor, first: int, start: int = 0, trace: Trace | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Run the layers from `first` on: residual stream (B, T, D) before that layer → after the last one.

        forward() runs all layers. Interventions that change the stream inside the model run only the layers after them.
        `start` is the position of the first character.
        """
        freqs_cis = None
        if self.positions is None:
            freqs_cis = rotary_frequencies(start, start + x.shape[1], self.config.head_dim, x.device)
        for layer in range(first, len(self.blocks)):
            if trace is not None:
                trace.residual.append(x)
            x = self.blocks[layer](x, freqs_cis, layer, trace, cache)
        if trace is not None:
            trace.residual.append(x)
        return x

    def unembed(self, x: Tensor) -> Tensor:
        """Convert the residual stream (..., D) to logits (..., V): final LayerNorm, then the tied embedding matrix."""
        return F.linear(self.norm(x), self.embedding.weight)  # (..., D) @ (V, D)ᵀ → (..., V)


def rotary_frequencies(start: int, end: int, head_dim: int, device: torch.device | None = None) -> Tensor:
    """Rotary embedding factors e^(i·m·θ) of positions m = start … end - 1: (T, K / 2) complex (RoFormer §3.2.2)."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    theta = ROTARY_BASE ** (-pairs / head_dim)  # (K / 2,) radians per position
    angles = torch.outer(torch.arange(start, end, dtype=torch.float32, device=device), theta)  # (T, K / 2)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Apply rotary embeddings to queries or keys x (B, H, T, K), given the factors (T, K / 2) of their positions.

    Each pair (x[2i], x[2i + 1]) is treated as a complex number and multiplied by e^(i·m·θ). The dot product of a query
    and a key then depends only on the distance of their positions: (R_m q) · (R_n k) = q · R_(n-m) k.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (B, H, T, K) → (B, H, T, K / 2) complex
    return torch.view_as_real(pairs * freqs_cis).flatten(-2).to(x.dtype)


@contextmanager
def evaluation_mode(model: TransformerLanguageModel) -> Iterator[None]:
    """Context manager: disable dropout and gradients, then restore the training mode.

    Do not yield from a generator inside of it: the caller would run without gradients until the generator continues.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)

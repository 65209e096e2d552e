"""The whole Transformer, to be read from top to bottom.

    ids (B, T) → embedding (B, T, D) → num_layers × Block → LayerNorm → unembedding → logits (B, T, V)

A decoder-only Transformer (Vaswani et al. 2017, "Attention Is All You Need", without the encoder) with LayerNorm before
each sub-layer (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", §2.3), rotary positions
(Su et al. 2021, "RoFormer") and the embedding matrix used again to read the logits (Press & Wolf 2017). Shapes in the
comments: B windows, T characters, D embedding_dim, H heads of width K = D / H, F ffn_hidden_dim, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanollm.config import ModelConfig
from nanollm.errors import InputError

EPSILON = 1e-5  # keeps a vector of zeros from being divided by zero
ROTARY_BASE = 10_000.0  # RoFormer §3.3.2: wavelengths from 2π characters up to 2π · 10,000


@dataclass
class Trace:
    """What forward() saw on its way, if asked: pass an empty one and read it afterwards."""

    attention: list[Tensor] = field(default_factory=list)  # a layer: (B, H, T, T), row t sums to 1 over columns ≤ t
    head_outputs: list[Tensor] = field(
        default_factory=list
    )  # a layer: (B, H, T, K), what each head hands to the output
    residual: list[Tensor] = field(default_factory=list)  # (B, T, D) before each layer, and after the last
    weights: bool = True  # False leaves `attention` empty: nothing of the size T² is held


class Cache:
    """Keys and values of the characters read so far, so that forward() only computes the new ones.

    Valid for one window: at most context_length characters, each at the position at which it was read.
    """

    def __init__(self, config: ModelConfig, batch_size: int = 1, device: torch.device | None = None) -> None:
        shape = (config.num_layers, batch_size, config.heads, config.context_length, config.head_dim)
        self.keys = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append one layer's new keys and values (B, H, T, K); return all so far (B, H, length + T, K)."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class LayerNorm(nn.Module):
    """Each character's vector shifted to mean 0, scaled to variance 1, then scaled by a learned gain (Ba et al. 2016).

    (x - mean) / sqrt(variance + 1e-5) · gain. The formula's shift is left out: every reader of x can learn one itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        return F.layer_norm(x, x.shape[-1:], self.gain, eps=EPSILON)


class CausalSelfAttention(nn.Module):
    """Each character gathers from itself and those before it what its heads' queries find in their keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.heads, config.head_dim
        self.qk_norm = config.qk_norm
        self.qkv = nn.Linear(config.embedding_dim, 3 * config.embedding_dim, bias=False)
        self.output = nn.Linear(config.embedding_dim, config.embedding_dim)

    def forward(
        self, x: Tensor, freqs_cis: Tensor | None, layer: int, trace: Trace | None, cache: Cache | None
    ) -> Tensor:
        """What attention adds to the stream (B, T, D), given a normalised copy x (B, T, D) of it.

        `freqs_cis` (T, K / 2) complex rotates queries and keys at these positions; None with learned positions. With
        a cache, the T characters follow those that it holds of this layer.
        """
        B, T, D = x.shape
        # (B, T, 3D) → (3, B, H, T, K): queries, keys and values of each head
        q, k, v = self.qkv(x).view(B, T, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        if self.qk_norm:
            q, k = rms_normalize(q), rms_normalize(k)
        if freqs_cis is not None:
            q, k = rotate(q, freqs_cis), rotate(k, freqs_cis)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        wanted = trace is not None and trace.weights
        begins = k.shape[2] == T  # nothing was read before
        if not wanted and begins and (q.dtype == torch.float32 or q.is_cuda):
            head_outputs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            weights = attention_weights(q, k)  # (B, H, T, S)
            head_outputs = weights @ v  # (B, H, T, K)
            if trace is not None and wanted:
                trace.attention.append(weights)
        if trace is not None:
            trace.head_outputs.append(head_outputs)
        return self.output(head_outputs.transpose(1, 2).reshape(B, T, D))  # heads side by side


def rms_normalize(x: Tensor) -> Tensor:
    """Each vector of (…, K) scaled so that its mean square is 1: a product QKᵀ/√K is then √K times a cosine.

    Henry et al. 2020, "Query-Key Normalization for Transformers": no score can run away, so learning can be faster.
    """
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON)


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(QKᵀ/√K) with the future masked (Vaswani et al. 2017, §3.2.1): (B, H, T, K), (B, H, S, K) → (B, H, T, S).

    The T queries belong to the last T of the S characters. Multiplied with V this is what attention gathers. Where
    nobody asks for the weights, PyTorch's fused kernel gathers the same without ever holding them: forward and backward
    in half the time (10.7 against 17.7 ms for a layer of medium, batch 32, float32, two CPU cores). Not in bfloat16 on
    a CPU, where that kernel's backward is the slow one: 24.0 against 5.3 ms.
    """
    T, S = q.shape[2], k.shape[2]
    scores = (q / math.sqrt(q.shape[3])) @ k.transpose(-2, -1)  # (B, H, T, S)
    if T > 1:  # a last character alone has no future before it
        scores = scores + torch.full((T, S), -torch.inf, dtype=q.dtype, device=q.device).triu(S - T + 1)
    return scores.softmax(dim=-1)


class FeedForward(nn.Module):
    """What each character does on its own: widen, keep what is positive, narrow again (Vaswani et al. 2017, §3.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.embedding_dim, config.ffn_hidden_dim, bias=False)
        self.down = nn.Linear(config.ffn_hidden_dim, config.embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """What it adds to the stream (B, T, D), given a normalised copy x (B, T, D) of it."""
        return self.down(F.relu(self.up(x)))  # (B, T, D) → (B, T, F) → (B, T, D)


class Dropout(nn.Module):
    """In training, silences a share of the numbers at random and raises the others to match (Srivastava et al. 2014).

    One random byte decides for each number, so the share is rounded to 1/256. Eight of them come from one draw:
    nn.Dropout, with a draw for each, took 4.0 ms against 0.6 where medium calls it twelve times a step (two CPU cores).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.silenced = round(share * 256)  # of 256 bytes

    def forward(self, x: Tensor) -> Tensor:
        """x (…) of any shape, in the same shape; out of training, x itself."""
        if not self.training or not self.silenced:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        heard = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.silenced
        return x * (heard.to(x.dtype) * (256 / (256 - self.silenced)))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each reading a normalised copy of the stream and adding to it."""

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
        """The stream (B, T, D) after this layer, from what it is before it; the rest as in CausalSelfAttention."""
        x = x + self.dropout(self.attention(self.attention_norm(x), freqs_cis, layer, trace, cache))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class TransformerLanguageModel(nn.Module):
    """Reads characters, and says for each place how likely every character is to come next."""

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
        """Weights are drawn from torch's global generator: call set_seed() first for the same ones again.

        Raises InputError if the sizes do not fit together (see ModelConfig).
        """
        super().__init__()
        self.config = config = ModelConfig(
            vocab_size,
            embedding_dim,
            num_layers,
            ffn_hidden_dim,
            num_heads,
            context_length,
            dropout,
            position,
            qk_norm,
        )
        learned = config.position == "learned"
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.positions = nn.Embedding(config.context_length, config.embedding_dim) if learned else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = LayerNorm(config.embedding_dim)
        self._initialize()

    @classmethod
    def from_config(cls, config: ModelConfig) -> TransformerLanguageModel:
        """The untrained model of a config."""
        return cls(
            config.vocab_size,
            config.embedding_dim,
            config.num_layers,
            config.ffn_hidden_dim,
            num_heads=config.num_heads,
            context_length=config.context_length,
            dropout=config.dropout,
            position=config.position,
            qk_norm=config.qk_norm,
        )

    def _initialize(self) -> None:
        """Small weights, so that an untrained model finds all characters about equally likely: loss ≈ ln V.

        What writes into the stream is scaled down by the number of writers, so that its variance does not grow with
        depth (Radford et al. 2019, §2.3).
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * len(self.blocks)) if writes else 0.02)

    def forward(self, ids: Tensor, trace: Trace | None = None, cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V) for the character after each of ids (B, T); row t depends on ids[:, : t + 1] alone.

        With a cache, ids are the characters after the cached ones, which it then holds too. With a trace, attention
        weights and the residual stream are recorded in it. Raises InputError if the window would be exceeded.
        """
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.context_length:
            raise InputError(
                f"{end} characters do not fit into this model's window of {self.config.context_length}: give it fewer."
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
        """The stream (B, T, D) after the last layer, from what it is before layer `first`, at positions from `start`.

        forward() runs all layers. Whoever has changed something inside a layer runs only those after it.
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
        """What the stream (…, D) says, read as after the last layer: logits (…, V)."""
        return F.linear(self.norm(x), self.embedding.weight)  # (…, D) · (V, D)ᵀ → (…, V)


def rotary_frequencies(start: int, end: int, head_dim: int, device: torch.device | None = None) -> Tensor:
    """e^(iθ) of the angle θ by which each pair of numbers turns at positions start … end - 1: (T, K / 2) complex."""
    pairs = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    speed = ROTARY_BASE ** (-pairs / head_dim)  # (K / 2,) radians a position
    angle = torch.outer(torch.arange(start, end, dtype=torch.float32, device=device), speed)  # (T, K / 2)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Turn x (B, H, T, K) by its position: neighbours (x[2i], x[2i + 1]) are a complex number, multiplied by e^(iθ).

    A query's product with a key then depends on their distance alone: (R_m q) · (R_n k) = q · R_(n-m) k.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (B, H, T, K) → (B, H, T, K / 2) complex
    return torch.view_as_real(pairs * freqs_cis).flatten(-2).to(x.dtype)


@contextmanager
def evaluation_mode(model: TransformerLanguageModel) -> Iterator[None]:
    """Inside, the model reads without dropout or gradients; afterwards it is as it was. Not to be yielded out of."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)

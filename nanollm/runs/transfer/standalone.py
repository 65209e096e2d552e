"""Generate text from a nano-llm checkpoint with numpy only: python sample.py checkpoint_final.safetensors "The "

This file has no other dependencies: copy it next to the checkpoint. It reads the vocabulary and the model's shape from
the checkpoint's header, and recomputes the whole window for every character, which is slow but easy to read.
"""

import json
import math
import struct
import sys

import numpy as np


def load(path):
    """Weights by name, characters by id, and model config of a checkpoint."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    facts = json.loads(header.pop("__metadata__")["nanollm"])
    weights = {}
    for name, about in header.items():
        kind = {"F32": "<f4", "F16": "<f2"}[about["dtype"]]
        start, end = about["data_offsets"]
        weights[name] = np.frombuffer(data[start:end], kind).astype(np.float32).reshape(about["shape"])
    return weights, facts["characters"], facts["model"]


def normalize(x, gain=None):
    """LayerNorm with `gain`, or RMS normalization without one."""
    x = x if gain is None else x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * (1 if gain is None else gain)


def apply_rotary(x):
    """Rotary position embedding of x (T, K): rotate adjacent pairs by angles proportional to the position."""
    T, K = x.shape
    angle = np.outer(np.arange(T), 10_000.0 ** (-np.arange(0, K, 2) / K))
    pairs = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
    return np.stack([pairs.real, pairs.imag], -1).reshape(T, K)


def logits(weights, shape, ids):
    """Logits (T, V) of the next character after each id."""
    T, D, H = len(ids), shape["embedding_dim"], shape["num_heads"]
    x = weights["embedding.weight"][ids]
    if shape["position"] == "learned":
        x = x + weights["positions.weight"][:T]
    for layer in range(shape["num_layers"]):
        w = {name[len(f"blocks.{layer}.") :]: t for name, t in weights.items() if name.startswith(f"blocks.{layer}.")}
        qkv = normalize(x, w["attention_norm.gain"]) @ w["attention.qkv.weight"].T
        heads = []
        for q, k, v in zip(*(np.split(part, H, axis=1) for part in np.split(qkv, 3, axis=1)), strict=True):
            if shape.get("qk_norm") or shape.get("similarity") == "cosine":  # the latter in older files
                q, k = normalize(q), normalize(k)
            if shape["position"] == "rotary":
                q, k = apply_rotary(q), apply_rotary(k)
            scores = q @ k.T / math.sqrt(D // H) + np.triu(np.full((T, T), -np.inf), 1)  # causal mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v)
        x = x + np.concatenate(heads, 1) @ w["attention.output.weight"].T + w["attention.output.bias"]
        hidden = np.maximum(0, normalize(x, w["feed_forward_norm.gain"]) @ w["feed_forward.up.weight"].T)
        x = x + hidden @ w["feed_forward.down.weight"].T + w["feed_forward.down.bias"]
    return normalize(x, weights["norm.gain"]) @ weights["embedding.weight"].T


def generate(path, prompt="", length=300, temperature=0.8, seed=42):
    """Yield the prompt (by default the first character of the vocabulary), then `length` sampled characters."""
    weights, characters, shape = load(path)
    prompt = prompt or characters[0]
    ids, rng = [characters.index(character) for character in prompt], np.random.default_rng(seed)
    yield prompt
    for _ in range(length):
        last = logits(weights, shape, ids[-shape["context_length"] :])[-1] / temperature
        probabilities = np.exp(last - last.max())
        ids.append(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))
        yield characters[ids[-1]]


if __name__ == "__main__":
    for piece in generate(sys.argv[1], " ".join(sys.argv[2:])):
        print(piece, end="", flush=True)
    print()

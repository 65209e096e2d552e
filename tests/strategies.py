"""Hypothesis strategies: random ModelConfigs with all options, small enough to compute quickly."""

from __future__ import annotations

from hypothesis import strategies as st

from nanollm.config import ModelConfig


@st.composite
def model_configs(draw: st.DrawFn) -> ModelConfig:
    position = draw(st.sampled_from(["rotary", "learned"]))
    num_heads = draw(st.integers(1, 4))
    head_dim = draw(st.integers(1, 4)) * (2 if position == "rotary" else 1)
    return ModelConfig(
        vocab_size=draw(st.integers(1, 12)),
        embedding_dim=num_heads * head_dim,
        num_layers=draw(st.integers(1, 3)),
        ffn_hidden_dim=draw(st.integers(1, 20)),
        num_heads=num_heads,
        context_length=draw(st.integers(1, 9)),
        dropout=draw(st.sampled_from([0.0, 0.5])),
        position=position,
        qk_norm=draw(st.booleans()),
    )

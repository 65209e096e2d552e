"""Texts: decoding, cleaning, statistics, splits, storage, built-in texts and n-gram baselines."""

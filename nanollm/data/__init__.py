"""Corpora: decoding, cleaning, statistics, storage, built-in texts, n-gram baselines and training datasets."""

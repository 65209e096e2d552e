"""Work with several runs: scaling experiments with reports, and building the pretrained models."""

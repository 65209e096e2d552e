"""Text generation: sampling, a numpy and a PyTorch inference engine, and generate()."""

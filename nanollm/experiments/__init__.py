"""What is done with many runs at once: the same training at several sizes, and the models that come with nano-llm."""

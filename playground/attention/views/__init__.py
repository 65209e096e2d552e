"""The views of the Attention tab, one module each."""

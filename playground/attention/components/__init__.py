"""The browser components of the Attention tab."""

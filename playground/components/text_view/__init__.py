"""Generated text, shaded by surprisal, and the candidates of a clicked character."""

"""Writing with a trained model: the draw, two engines that compute the logits, and the loop around them."""

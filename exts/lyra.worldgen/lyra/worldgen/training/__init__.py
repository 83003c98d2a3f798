"""Training of the painter: films with poses and depth, self-augmented steps, the loop around them."""

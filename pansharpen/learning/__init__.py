"""Training of the nets: examples, one loop, weights with a card."""

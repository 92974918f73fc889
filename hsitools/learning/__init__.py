"""Learning: one training loop, its processes, checkpoints and curves; weights with a card. Rooms bring the nets."""

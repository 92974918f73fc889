"""What makes a pair of a cube and a PAN image: place, holes, what a sensor tells."""

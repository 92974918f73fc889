"""The parts of the method `physics`."""

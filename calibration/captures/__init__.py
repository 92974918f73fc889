"""What was measured under the monochromator: captures, raw frames, sub-images, and their checks."""

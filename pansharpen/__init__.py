"""Hyperspectral pansharpening: cases, the zoo of methods, protocols, benchmark."""

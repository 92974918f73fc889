"""Hyperspectral pansharpening: methods, protocols and benchmark (in preparation; nothing to import yet)."""

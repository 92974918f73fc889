"""Denoising and destriping: noise estimation, the classical path, and the protocol that methods share."""

"""Denoising and destriping by 3D latent diffusion (in preparation; nothing to import yet)."""

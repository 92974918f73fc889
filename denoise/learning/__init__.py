"""Training of the denoiser's nets."""

"""Fits of transmittance models to captures: start values, refinement, population prior, common curves, covariance."""

"""Estimators that every room asks for: noise of bands, covariance and rank, bounded least squares, spreads, edges."""

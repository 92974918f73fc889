"""Estimators that every room asks for: noise of bands, covariances and their rank, bounded least squares, spreads, edges."""

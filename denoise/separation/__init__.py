"""Scene and instrument told apart: subspace, noise, columns, outliers, rare spectra."""

"""Monochromatic captures to characterized Fabry-Perot interferometers, after IRCA (Picone et al., 2023)."""

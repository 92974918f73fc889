"""What an instrument does to light: spectral response, Fabry-Perot transmittance, sub-image layout."""

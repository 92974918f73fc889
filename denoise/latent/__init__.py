"""The learned prior: autoencoder, flow, evidence, posterior, and how sure it is."""

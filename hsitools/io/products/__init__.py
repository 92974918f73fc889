"""Readers of missions' and instruments' products, one file each."""

"""Readers and writers of general formats, one file each."""

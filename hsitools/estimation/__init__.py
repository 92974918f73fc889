"""Estimators that several rooms share."""

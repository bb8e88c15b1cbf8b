"""Preparation and inspection of datasets, independent of evaluation."""

"""Preparation and inspection of datasets; evaluation needs none of it."""

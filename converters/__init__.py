"""Turns trained models into small, proven, signed bundles."""

"""Staged rollouts: who gets a bundle when, and when that stops by itself."""

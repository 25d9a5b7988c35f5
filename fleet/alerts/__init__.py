"""Alerts that came home: stored once, listed, counted."""

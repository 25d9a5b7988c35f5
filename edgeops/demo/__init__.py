"""Runs the whole mission on one machine, by the command line and on the wire only."""

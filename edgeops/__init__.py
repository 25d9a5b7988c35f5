"""EdgeOps: what converters, agent and fleet agree on."""

__version__ = "0.1.0"

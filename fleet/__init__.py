"""The fleet server: registry, rollouts judged by evidence, telemetry that comes home."""

"""The on-device daemon: sense, infer, alert, remember, update; offline first."""

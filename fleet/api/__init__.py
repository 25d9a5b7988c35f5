"""The operator's REST interface: thin, typed, problems as application/problem+json."""

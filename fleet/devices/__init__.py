"""Devices: enrolment, what each must run, what each says, and how each is called."""

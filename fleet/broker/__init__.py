"""A small MQTT 3.1.1 broker for one machine, and the care of a broker as a child process.

For production use Mosquitto; this broker exists so that a fleet starts where nothing but Python
is installed. State lives in memory: a broker is a pipe, the record is the fleet's database.
"""

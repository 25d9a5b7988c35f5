"""Store and forward: what the device has to say survives the network, the disk and the power."""

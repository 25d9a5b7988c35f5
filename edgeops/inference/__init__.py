"""One path from a raw sample to a decision, used by the converter and the device alike."""

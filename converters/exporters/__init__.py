"""The far side of the importers of other frameworks: runs in a process of its own.

``python -m converters.exporters`` loads one model with the framework that made it, exports
it to ONNX and then answers samples, so that the import can be held against the original.
A framework's memory, threads, logs and global state stay out of the converter, and the
process may run in another interpreter than the converter's.
"""

"""Into how many pieces LiteRT's fast kernels cut a file."""

from ai_edge_litert.interpreter import Interpreter

DELEGATE = "DELEGATE"


def delegate_partitions(data: bytes) -> int:
    """Return how many parts of the graph run in XNNPACK; each border between them costs copies.

    0 means that every operator runs in a builtin kernel.
    """
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    # The interpreter has no public way to ask; the names have been the same since 2020.
    details = interpreter._get_ops_details()  # noqa: SLF001
    return sum(detail["op_name"] == DELEGATE for detail in details)

"""Every error EdgeOps raises on purpose, as one tree.

EdgeOpsError
├── UsageError            the command was called with words that do not fit together
├── CheckFailedError      a check, gate or demo step said no
├── ContractError         a document or message breaks its contract
├── TrustError            a digest, signature, key or serial did not check out
├── TransitionError       an event is not legal in the present state
├── ConversionError       a model could not be converted within its budget
│   └── UnsupportedModelError   an operator or attribute that we do not lower
├── InferenceError        a model could not be loaded or run here
│   └── BadOutputError    its outputs hold NaN, infinity or an impossible class
├── SourceError           a camera, file or sensor could not be read
├── StorageError          a file or database could not be read or written
├── TransportError        a broker or server could not be reached; worth a retry
└── MissingExtraError     an optional part of EdgeOps is not installed

``code`` is for machines (telemetry, REST, exit status) and never changes;
the message is for people and may be reworded freely.
"""

from typing import ClassVar


class EdgeOpsError(Exception):
    """Base of the tree; catch it at a program's edge, nowhere else."""

    code: ClassVar[str] = "edgeops"
    exit_status: ClassVar[int] = 1


class UsageError(EdgeOpsError):
    """The command was called with words that do not fit together."""

    code = "usage"
    exit_status = 2


class CheckFailedError(EdgeOpsError):
    """A check, gate or demo step said no."""

    code = "check-failed"
    exit_status = 1


class ContractError(EdgeOpsError):
    """A document breaks its contract.

    Args:
        path: Place inside the document, such as ``manifest.inputs[0].shape`` or
            ``agent.yaml:12: rules.intruder``.
        reason: What was expected and what was found.
    """

    code = "contract"
    exit_status = 65

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class TrustError(EdgeOpsError):
    """A digest, signature, key or serial did not check out; never retried."""

    code = "trust"
    exit_status = 77


class TransitionError(EdgeOpsError):
    """An event is not legal in the present state; nothing was changed."""

    code = "transition"
    exit_status = 70


class ConversionError(EdgeOpsError):
    """A model could not be converted, or not within its accuracy budget."""

    code = "conversion"
    exit_status = 70


class UnsupportedModelError(ConversionError):
    """A node that we do not lower.

    Args:
        node: Name of the node.
        operator: ONNX operator type.
        reason: What about it is not supported.
        suggestion: What the user can do.
    """

    code = "unsupported-model"

    def __init__(self, *, node: str, operator: str, reason: str, suggestion: str = "") -> None:
        hint = f" ({suggestion})" if suggestion else ""
        super().__init__(f"node {node!r} ({operator}): {reason}{hint}")
        self.node = node
        self.operator = operator
        self.reason = reason
        self.suggestion = suggestion


class InferenceError(EdgeOpsError):
    """A model could not be loaded or run on this machine."""

    code = "inference"
    exit_status = 70


class BadOutputError(InferenceError):
    """A model ran, but its outputs cannot be trusted: NaN, infinity or an impossible class."""

    code = "bad-output"


class SourceError(EdgeOpsError):
    """A camera, file or sensor could not be read."""

    code = "source"
    exit_status = 74


class StorageError(EdgeOpsError):
    """A file or database could not be read or written (missing, full, read-only)."""

    code = "storage"
    exit_status = 74


class TransportError(EdgeOpsError):
    """A broker or server could not be reached; worth a retry."""

    code = "transport"
    exit_status = 75


class MissingExtraError(EdgeOpsError):
    """An optional part of EdgeOps is not installed.

    Args:
        command: What needs it.
        module: The module that is not there.
        extra: Name of the extra that brings it, where the raiser knows.
    """

    code = "missing-extra"
    exit_status = 69

    def __init__(self, command: str, module: str | None, *, extra: str = "") -> None:
        remedy = (
            f"pip install 'edgeops[{extra}]'"
            if extra
            else "see 'Install' in README.md for the extra"
        )
        super().__init__(f"'{command}' needs the module {module!r}: {remedy}")
        self.command = command
        self.module = module

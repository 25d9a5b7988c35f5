"""The exam of a bundle before its activation, in a process of its own.

``python -m agent.preflight FOLDER VARIANT [MEMORY_BYTES]`` loads the variant, lets it answer the
golden samples and prints an ``ExamAnswer`` as JSON. A crash or a memory limit ends this process
and nothing else.
"""

import contextlib
import os
import resource
import signal
import stat
import sys
import threading
from pathlib import Path
from typing import Final

from agent.update.exam import ExamAnswer, peak_rss_bytes
from edgeops import bundle as bundles
from edgeops import codec
from edgeops.contracts.manifest import Variant
from edgeops.contracts.update import Preflight
from edgeops.errors import ContractError, InferenceError, StorageError
from edgeops.inference import golden
from edgeops.inference.model import Model

FIRST_TO_GO: Final = "1000"
"""Where memory runs out the kernel takes this process, not the agent."""


def main(argv: list[str]) -> int:
    """Examine a bundle and print the answer; return the exit status."""
    folder, variant_id = Path(argv[0]), argv[1]
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_end_with_the_agent, daemon=True).start()
    _be_modest(int(argv[2]) if len(argv) > 2 else 0)  # noqa: PLR2004  # the optional third word
    try:
        bundle = bundles.open_folder(folder)
        variant = bundle.manifest.variant(variant_id)
        if variant is None:
            answer = ExamAnswer(error=f"{bundle.title} has no variant {variant_id}")
        else:
            answer = _examined(bundle, variant)
    except (InferenceError, ContractError, StorageError, MemoryError) as error:
        answer = ExamAnswer(error=str(error) or type(error).__name__)
    sys.stdout.write(codec.canonical(answer).decode())
    return 0


def _examined(bundle: bundles.Bundle, variant: Variant) -> ExamAnswer:
    agreement: float | None
    if bundle.manifest.golden is None:
        # Nothing to compare with: that it loads is all an exam can say, and it says no more.
        Model.load(bundle, variant).close()
        agreement, required, p95_ms = None, 0.0, 0.0
    else:
        outcome = golden.check(bundle, variant)
        agreement, required, p95_ms = outcome.agreement, outcome.required, outcome.p95_ms
    figures = Preflight(
        golden_agreement=agreement,
        p95_ms=p95_ms,
        rss_bytes=peak_rss_bytes(),
        variant=variant.id,
    )
    return ExamAnswer(preflight=figures, required=required)


def _end_with_the_agent() -> None:
    """End at once when the agent is gone: it holds the other end of our standard input."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGKILL)


def _be_modest(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The exam before activation, seen from the agent: a child process whose death costs nothing."""

import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.update.rules import UpdateRules
from edgeops import codec
from edgeops.contracts.scalars import Ratio
from edgeops.contracts.update import Preflight, Reason
from edgeops.errors import ContractError

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 64 * 1024
_WORDS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamAnswer:
    """What the child says: figures, or one sentence why there are none.

    Attributes:
        required: Agreement that the bundle asks for.
    """

    preflight: Preflight | None = None
    required: Ratio = 1.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ExamOutcome:
    """How the exam went; ``reason`` is ``None`` where it was passed."""

    preflight: Preflight | None
    reason: Reason | None = None
    detail: str = ""


Examine = Callable[[Path, str], ExamOutcome]
"""Examines the variant of the bundle in a folder."""


def examine(folder: Path, variant: str, rules: UpdateRules) -> ExamOutcome:
    """Run ``python -m agent.preflight`` on a bundle and judge its answer.

    The child may crash, hang or eat its memory limit: that rejects the bundle and nothing else.
    """
    argv = [sys.executable, "-m", "agent.preflight", str(folder), variant, str(rules.exam_memory)]
    # The child ends when this pipe closes, so it never outlives an agent that was killed.
    reading, writing = os.pipe()
    try:
        with subprocess.Popen(
            argv,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as child:
            try:
                out, err = child.communicate(timeout=rules.exam_timeout)
            except subprocess.TimeoutExpired:
                return ExamOutcome(
                    None, Reason.LATENCY, f"the exam did not end in {rules.exam_timeout:.0f} s"
                )
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.communicate()
    finally:
        os.close(reading)
        os.close(writing)
    if child.returncode != 0:
        return ExamOutcome(None, Reason.CRASH, _death(child.returncode, err))
    try:
        answer = codec.decode(out, ExamAnswer, where="exam", limit=MAX_ANSWER)
    except ContractError as error:
        return ExamOutcome(None, Reason.CRASH, f"the exam's answer cannot be read: {error}")
    return judge_exam(answer, rules)


def judge_exam(answer: ExamAnswer, rules: UpdateRules) -> ExamOutcome:
    """Decide from the child's figures."""
    figures = answer.preflight
    if figures is None:
        return ExamOutcome(None, Reason.LOAD, answer.error)
    if figures.golden_agreement is not None and figures.golden_agreement < answer.required:
        return ExamOutcome(
            figures,
            Reason.GOLDEN,
            f"{figures.golden_agreement:.1%} of the golden samples agree,"
            f" {answer.required:.1%} must",
        )
    if figures.p95_ms > rules.max_latency * 1000:
        return ExamOutcome(
            figures,
            Reason.LATENCY,
            f"95 % of the golden samples took up to {figures.p95_ms:.1f} ms"
            f" (at most {rules.max_latency * 1000:.0f} ms are accepted)",
        )
    return ExamOutcome(figures)


def peak_rss_bytes() -> int:
    """Return the largest resident size that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _death(status: int, err: bytes) -> str:
    last = err.decode(errors="replace").strip().splitlines()[-1:] or [""]
    if status < 0:
        return f"the exam died of {signal.Signals(-status).name}. {last[0][:_WORDS]}".strip()
    return f"the exam ended with status {status}: {last[0][:_WORDS]}"

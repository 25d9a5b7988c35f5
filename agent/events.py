"""Where results become effects: telemetry and alerts into the outbox, alerts on to the actions."""

from dataclasses import replace

from agent.actions import Actions
from agent.outbox.outbox import Outbox
from agent.pipeline_port import LoadedModel
from agent.rules.evaluate import Answer
from agent.rules.rulebook import STATE_KEY, Decision, RuleBook
from edgeops.contracts.telemetry import Window


class Recorder:
    """Hands each alert to the outbox and to its actions at once; neither waits for the other.

    An alert and the rule states that made it are one commit. Actions do not wait for that commit
    (a siren must sound on a broken disk), so a kill in the moments between can repeat an action
    under a new alert id, or cut off one that the outbox already holds.
    """

    def __init__(self, outbox: Outbox, actions: Actions) -> None:
        self._outbox = outbox
        self._actions = actions

    def decided(self, decision: Decision) -> None:
        """Take one raised or cleared alert; never waits."""
        self._outbox.put_alert(decision.event, {STATE_KEY: decision.states})
        self._actions.submit(decision.event, decision.do)

    def window(self, pipeline: str, window: Window) -> None:
        """Take one telemetry window; adds how full the outbox is."""
        counters = self._outbox.counters()
        values = {
            **window.values,
            "outbox_windows": float(counters.windows_held),
            "outbox_alerts": float(counters.alerts_held + counters.alerts_in_memory),
            "outbox_bytes": float(counters.bytes_used),
        }
        self._outbox.put_window(pipeline, replace(window, values=values))


class AgentEvents:
    """Connects the pipelines with rules and outbox; implements ``pipeline_port.PipelineEvents``."""

    def __init__(self, rulebook: RuleBook, recorder: Recorder) -> None:
        self._rulebook = rulebook
        self._recorder = recorder

    def loaded(self, pipeline: str, model: LoadedModel) -> None:
        """Check the rules against the new model's task and labels."""
        self._rulebook.suits(pipeline, model.task, model.labels)

    def answered(self, pipeline: str, t: float, answer: Answer, model: str) -> None:
        """Step the rules."""
        self._rulebook.evidence(pipeline, t, answer, model)

    def silent(self, pipeline: str, silent_s: float) -> None:
        """Tell the rules that nothing comes."""
        self._rulebook.silence(pipeline, silent_s)

    def recording_ended(self, pipeline: str) -> None:
        """Close the recording's alerts."""
        self._rulebook.recording_ended(pipeline)

    def window_closed(self, pipeline: str, window: Window) -> None:
        """Store the window."""
        self._recorder.window(pipeline, window)

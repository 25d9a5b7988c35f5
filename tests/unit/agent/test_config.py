"""``agent.yaml``: what is read, what is refused, and where it says so."""

from pathlib import Path

import pytest

from agent.config import AgentConfig, listen_address, load_config
from agent.slots import slot_rules
from agent.sources.options import CameraOptions, CsvOptions, VideoOptions, from_plain, to_plain
from edgeops.errors import ContractError, StorageError
from edgeops.yamldoc import FaultyDocumentError

WHOLE = """schema: 1
device: {id: yard-cam-1, site: plant-7, labels: {line: "3"}}
state_dir: state
fleet: {url: "http://127.0.0.1:8443", mqtt: "127.0.0.1:1883", reconcile: 5m}
trust: {release: [release.pub], director: [director.pub]}
api: {listen: "127.0.0.1:0"}
sources:
  cam1: {type: video, path: belt.avi, realtime: true, loop: true}
  cam2: {type: camera, device: /dev/video0, fps: 5}
  vib: {type: csv, path: vib.csv, columns: [accel_g], time_column: t, rate_hz: 1024, window: 1024}
  pics: {type: images, path: folder}
models:
  vis: {slot: main}
  bear: {slot: bearing, runtime: onnx, threads: 2}
  odd: {bundle: odd.edgeops}
pipelines:
  belt: {source: cam1, model: vis, interval: 0s, window: 2s}
  vib: {source: vib, model: bear}
  pics: {source: pics, model: odd}
rules:
  defect: {pipeline: belt, when: "score(defect) > 0.6", for: 0.5s, clear: "score(defect) < 0.4",
           clear_for: 1s, cooldown: 1m, missing: 10s, severity: high, do: [log, hook, bus, cmd]}
  worn: {pipeline: vib, when: "anomaly() > 1"}
actions:
  log: {type: log, path: alerts.jsonl}
  cmd: {type: command, argv: [/usr/bin/logger, "{rule}"], timeout: 5s}
  hook: {type: webhook, url: "http://127.0.0.1:9000/x", timeout: 5s, retries: 3}
  bus: {type: mqtt, address: "127.0.0.1:1883", topic: plant/alerts, password_file: bus.secret}
outbox: {max_disk: 256MB, min_free: 0.05, batch: 1s}
updates: {behaviour: {max_label_shift: 0.5, min_frames: 50}, max_latency: 1s, max_boots: 3}
"""


def _load(folder: Path, text: str, **variables: str) -> AgentConfig:
    path = folder / "agent.yaml"
    path.write_text(text)
    return load_config(path, variables)


def _faults(folder: Path, text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(FaultyDocumentError) as caught:
        _load(folder, text)
    return [(fault.line, fault.path, fault.reason) for fault in caught.value.faults]


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    config = _load(tmp_path, WHOLE)

    assert config.state_dir == tmp_path / "state"
    assert config.sources["cam1"] == VideoOptions(
        path=str(tmp_path / "belt.avi"), realtime=True, loop=True
    )
    assert config.sources["cam2"] == CameraOptions(device="/dev/video0", fps=5.0)
    assert isinstance(config.sources["vib"], CsvOptions)
    assert config.models["odd"].bundle == str(tmp_path / "odd.edgeops")
    assert (config.slot_of("vis"), config.slot_of("odd")) == ("main", "local-odd")
    rule = config.rules["defect"]
    assert (rule.timing.for_s, rule.timing.clear_for_s, rule.timing.cooldown_s) == (0.5, 1.0, 60.0)
    assert (rule.missing_s, rule.severity, rule.do) == (10.0, "high", ("log", "hook", "bus", "cmd"))
    assert config.fleet is not None
    assert config.fleet.reconcile == 300.0
    assert config.fleet.credential == str(tmp_path / "credential.json")
    assert config.trust.director == (str(tmp_path / "director.pub"),)


def test_slots_expect_what_their_rules_ask(tmp_path: Path) -> None:
    bearing, main = slot_rules(_load(tmp_path, WHOLE))

    assert (bearing.slot, bearing.task, bearing.labels) == ("bearing", "anomaly", frozenset())
    assert (bearing.runtime, bearing.precision) == ("onnx", "auto")
    assert (main.slot, main.task, main.labels) == ("main", None, frozenset({"defect"}))


def test_the_environment_lies_over_the_file(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        WHOLE,
        EDGEOPS_AGENT__STATE_DIR="/var/lib/other",
        EDGEOPS_AGENT__SOURCES__CAM1__PATH="other.avi",
        EDGEOPS_AGENT__OUTBOX__MAX_DISK="1MB",
    )

    assert config.state_dir == Path("/var/lib/other")
    assert config.sources["cam1"] == VideoOptions(
        path=str(tmp_path / "other.avi"), realtime=True, loop=True
    )
    assert config.outbox.max_disk == 1_000_000


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("site: plant-7", "sight: x", (2, "device.sight"), "did you mean 'site'?"),
        ("id: yard-cam-1", "id: 'a b'", (2, "device.id"), "Expected 1-64 letters"),
        ("type: video", "type: vidoe", (8, "sources.cam1.type"), "did you mean 'video'?"),
        ("type: video, ", "", (8, "sources.cam1.type"), "is missing"),
        ("realtime: true, loop", "loop", (8, "sources.cam1"), "loop only together with realtime"),
        ("columns: [accel_g]", "columns: []", (10, "sources.vib.columns"), "length >= 1"),
        ("time_column: t, rate_hz: 1024, ", "", (10, "sources.vib"), "time_column or rate_hz"),
        ("{slot: main}", "{}", (13, "models.vis"), "either slot or bundle"),
        ("{slot: main}", "{slot: local-a}", (13, "models.vis.slot"), "are kept for bundles"),
        ("source: cam1", "source: cam11", (17, "pipelines.belt.source"), "did you mean 'cam1'?"),
        ("window: 2s", "window: 0s", (17, "pipelines.belt.window"), "longer than 0 s"),
        ("window: 2s", "window: soon", (17, "pipelines.belt.window"), "such as 30s"),
        ("  pics: {source", "  'pi cs': {source", (19, "pipelines.pi cs"), "1-64 letters"),
        (
            "score(defect) > 0.6",
            "score(defect)",
            (21, "rules.defect.when"),
            "expected a comparison",
        ),
        (
            "score(defect) > 0.6",
            "count(a) > 1 and value() > 1",
            (21, "rules.defect.when"),
            "no model",
        ),
        ("for: 0.5s", "four: 0.5s", (21, "rules.defect.four"), "did you mean 'for'?"),
        (
            "severity: high",
            "severity: huge",
            (22, "rules.defect.severity"),
            "one of low, medium, high",
        ),
        ("do: [log,", "do: [lock,", (22, "rules.defect.do"), "did you mean 'log'?"),
        ('"{rule}"]', '"{rul}"]', (26, "actions.cmd.argv"), "unknown placeholder {rul}"),
        ("http://127.0.0.1:9000/x", "ftp://x", (27, "actions.hook.url"), "starts with http://"),
        ("plant/alerts", "'plant/#'", (28, "actions.bus.topic"), "without '+' and '#'"),
        ('127.0.0.1:1883", topic', 'x y z://", topic', (28, "actions.bus.address"), "is not"),
        ("127.0.0.1:0", "0.0.0.0:0", (6, "api.listen"), "not a loopback address"),
        ("director: [director.pub]", "director: []", (5, "trust.director"), "needs a key"),
        ("max_disk: 256MB", "max_disk: lots", (29, "outbox.max_disk"), "such as 256MB"),
    ],
)
def test_one_fault_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, place: tuple[int, str], reason: str
) -> None:
    assert WHOLE.count(old) >= 1

    found = _faults(tmp_path, WHOLE.replace(old, new, 1))

    assert place in [(line, path) for line, path, _ in found], found
    assert any(reason in text for line, path, text in found if (line, path) == place), found


def test_a_slot_without_a_fleet_is_refused(tmp_path: Path) -> None:
    text = "\n".join(line for line in WHOLE.splitlines() if not line.startswith("fleet:"))

    assert [(path, line) for line, path, _ in _faults(tmp_path, text)] == [("models", 11)]


def test_faults_of_several_sections_come_together(tmp_path: Path) -> None:
    text = WHOLE.replace("type: video", "type: film").replace("severity: high", "severity: 3")

    assert [path for _, path, _ in _faults(tmp_path, text)] == [
        "sources.cam1.type",
        "rules.defect.severity",
    ]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        load_config(tmp_path / "none.yaml", {})


@pytest.mark.parametrize("text", ["8471", "127.0.0.1", "127.0.0.1:x", "10.0.0.1:1", "h:99999"])
def test_the_local_api_listens_on_loopback_alone(text: str) -> None:
    with pytest.raises(ContractError):
        listen_address(text)


def test_addresses_of_the_local_api() -> None:
    assert listen_address("localhost:80") == ("127.0.0.1", 80)
    assert listen_address("127.0.0.2:0") == ("127.0.0.2", 0)


@pytest.mark.parametrize("name", ["cam1", "cam2", "vib", "pics"])
def test_source_options_cross_to_the_pipe_unchanged(tmp_path: Path, name: str) -> None:
    options = _load(tmp_path, WHOLE).sources[name]

    assert from_plain(to_plain(options)) == options


def test_a_fault_at_the_top_hides_none_in_the_sections(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        "schema: 1\n"
        "device: {id: a b}\n"
        "sources:\n"
        "  cam: {type: vidoe, path: x.avi}\n"
        "rules:\n"
        "  r: {pipeline: p, when: score(a) > 1, fore: 1s}\n"
    )

    with pytest.raises(FaultyDocumentError) as caught:
        load_config(path, {})

    assert [fault.path for fault in caught.value.faults] == [
        "device.id",
        "sources.cam.type",
        "rules.r.fore",
    ]

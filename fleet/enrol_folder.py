"""The folder that goes to a new device: credential, keys to trust, and a first agent.yaml."""

import json
from pathlib import Path
from typing import Final

from edgeops import codec
from edgeops.codec import JsonValue
from edgeops.contracts.credential import Credential
from edgeops.durable import write_atomic
from edgeops.errors import ContractError, StorageError, UsageError

CREDENTIAL: Final = "credential.json"
AGENT: Final = "agent.yaml"


def check_target(folder: Path) -> None:
    """Refuse a folder that holds a credential: its secret is the only copy.

    Raises:
        UsageError: It does.
        StorageError: The folder cannot be made.
    """
    if (folder / CREDENTIAL).exists():
        raise UsageError(f"{folder / CREDENTIAL} exists; give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror or error}") from error


def write(folder: Path, answer: dict[str, JsonValue]) -> tuple[str, ...]:
    """Write what the server answered to an enrolment; return the names written.

    ``agent.yaml`` is written only where there is none.

    Raises:
        ContractError: The answer lacks something.
        StorageError: The folder cannot be written.
    """
    credential = codec.convert(answer.get("credential"), Credential, where="answer.credential")
    director, release = answer.get("director"), answer.get("release")
    if not isinstance(director, str) or not isinstance(release, dict):
        raise ContractError("answer", "lacks the keys to trust")
    # The secret is written first and readable by its owner only.
    write_atomic(folder / CREDENTIAL, codec.canonical(credential) + b"\n", mode=0o600)
    write_atomic(folder / "director.pub", director.encode())
    names = [CREDENTIAL, "director.pub"]
    keys = []
    for keyid, pem in sorted(release.items()):
        keys.append(f"release-{keyid}.pub")
        write_atomic(folder / keys[-1], str(pem).encode())
    names += keys
    if not (folder / AGENT).exists():
        write_atomic(folder / AGENT, _agent_yaml(answer, credential, keys).encode())
        names.append(AGENT)
    return tuple(names)


def _agent_yaml(answer: dict[str, JsonValue], credential: Credential, release: list[str]) -> str:
    # Every value is written as JSON, which is YAML that cannot be misread.
    site, labels = answer.get("site") or "", answer.get("labels") or {}
    return "\n".join(
        [
            "schema: 1",
            "device:",
            f"  id: {json.dumps(credential.device)}",
            *([f"  site: {json.dumps(site)}"] if site else []),
            *([f"  labels: {json.dumps(labels)}"] if labels else []),
            "state_dir: state",
            "fleet:",
            f"  url: {json.dumps(answer.get('url'))}",
            f"  mqtt: {json.dumps(answer.get('mqtt'))}",
            f"  tenant: {json.dumps(credential.tenant)}",
            f"  credential: {CREDENTIAL}",
            "trust:",
            f"  release: {json.dumps(release)}",
            '  director: ["director.pub"]',
            "# What this device looks at, which slot answers and what it does then come next:",
            "# sources, models, pipelines, rules, actions. 'edgeops agent check' finds mistakes.",
            "",
        ]
    )

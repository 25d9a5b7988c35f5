"""``python -m fleet.broker``: the built-in broker as a program.

Prints ``listening HOST PORT`` on stdout when clients can connect; everything else on stderr.
SIGHUP reads the files again, SIGTERM and SIGINT end it.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from edgeops.errors import EdgeOpsError, UsageError
from fleet.broker.limits import Limits
from fleet.broker.server import Server, is_loopback, raise_descriptor_limit

logger = logging.getLogger("fleet.broker")

READ_BYTES = 4096


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fleet.broker",
        description="Built-in MQTT 3.1.1 broker for one machine; state is kept in memory only.",
    )
    parser.add_argument("--listen", default="127.0.0.1:1883", metavar="HOST:PORT")
    parser.add_argument("--passwd", type=Path, help="password file in Mosquitto's format")
    parser.add_argument("--acl", type=Path, help="access file in Mosquitto's format")
    parser.add_argument("--allow-anonymous", action="store_true")
    parser.add_argument("--allow-remote", action="store_true", help="listen beyond this machine")
    parser.add_argument("--max-packet", type=int, default=Limits().max_packet_bytes, metavar="N")
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when stdin reaches its end"
    )
    return parser.parse_args(arguments)


def _address(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 0xFFFF:  # noqa: PLR2004 16 bit port
        raise UsageError(f"--listen {listen!r}: expected HOST:PORT")
    host = host.strip("[]")
    if not allow_remote and not is_loopback(host):
        raise UsageError(
            f"--listen {listen!r} is no loopback address; the built-in broker speaks no TLS: "
            "use Mosquitto, or --allow-remote on a network you trust"
        )
    return host, int(port)


async def _serve(options: argparse.Namespace) -> None:
    if options.passwd is None and not options.allow_anonymous:
        raise UsageError("nobody could connect: give --passwd FILE or --allow-anonymous")
    smallest = 1024
    if options.max_packet < smallest:
        raise UsageError(f"--max-packet {options.max_packet}: must be at least {smallest}")
    host, port = _address(options.listen, allow_remote=options.allow_remote)
    limits = Limits(
        max_packet_bytes=options.max_packet,
        max_connections=min(Limits().max_connections, raise_descriptor_limit()),
    )
    server = Server(
        passwd=options.passwd,
        acl=options.acl,
        allow_anonymous=options.allow_anonymous,
        limits=limits,
    )
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.die_with_parent:
        _end_with_stdin(loop, ended)
    listening = await server.start(host, port)
    sys.stdout.write(f"listening {listening[0]} {listening[1]}\n")
    sys.stdout.flush()
    logger.warning("built-in broker: for one machine; state is lost when it ends")
    try:
        await server.wait(ended)
    finally:
        await server.stop()


def _end_with_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Set ``ended`` once the parent, who holds the other end of our stdin, is gone."""
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, READ_BYTES):
            loop.remove_reader(descriptor)
            ended.set()

    loop.add_reader(descriptor, read)


def main(arguments: list[str] | None = None) -> int:
    """Run until told to end; return the exit status."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(options))
    except EdgeOpsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())

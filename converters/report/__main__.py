"""Draw a report again with latencies from devices: ``python -m converters.report FILE``."""

import argparse
import sys
from pathlib import Path

from converters.report.boards import read_measurement, with_boards
from converters.report.contents import Report
from converters.report.files import MAX_REPORT_BYTES, write_beside
from edgeops import codec
from edgeops.errors import EdgeOpsError


def main() -> int:
    """Read a report, add what was measured, write document and page anew; return the status."""
    parser = argparse.ArgumentParser(prog="python -m converters.report", description=__doc__)
    parser.add_argument("report", type=Path, help="NAME-VERSION.report.json")
    parser.add_argument(
        "--measured",
        action="append",
        default=[],
        metavar="BOARD=FILE",
        help="what `edgeops benchmark BUNDLE --json` printed on a board; may be repeated",
    )
    given = parser.parse_args()
    try:
        report = codec.read(given.report, Report, where="report", limit=MAX_REPORT_BYTES)
        rows = [read_measurement(text) for text in given.measured]
        page = write_beside(given.report.parent, with_boards(report, rows))
    except EdgeOpsError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    sys.stdout.write(f"{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Opens the source that the configuration names; imports only what that kind needs."""

from agent.sources.options import (
    CameraOptions,
    CsvOptions,
    RepeatOptions,
    SourceOptions,
    VideoOptions,
)
from agent.sources.source import Source
from edgeops.clock import Clock


def open_source(options: SourceOptions, clock: Clock) -> Source:
    """Return the opened source; a sensor never imports OpenCV.

    Raises:
        SourceError: It cannot be opened, in one sentence.
    """
    if isinstance(options, CsvOptions):
        from agent.sources.csv_replay import open_csv  # noqa: PLC0415

        return open_csv(options, clock)
    if isinstance(options, VideoOptions):
        from agent.sources.video import open_video  # noqa: PLC0415

        return open_video(options, clock)
    if isinstance(options, CameraOptions):
        from agent.sources.camera import Camera  # noqa: PLC0415

        return Camera(options, clock)
    if isinstance(options, RepeatOptions):
        from agent.sources.repeat import Repeat  # noqa: PLC0415

        return Repeat(options)
    from agent.sources.images import open_images  # noqa: PLC0415

    return open_images(options, clock)

"""Videos, folders of pictures, and a camera that comes and goes; real files, real HTTP."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.sources.camera import Camera
from agent.sources.images import open_images
from agent.sources.options import CameraOptions, ImagesOptions, VideoOptions
from agent.sources.redact import redacted
from agent.sources.source import Sample
from agent.sources.video import open_video
from edgeops.clock import SystemClock
from edgeops.errors import SourceError
from edgeops.quantities import Duration
from tests.emulation.camera import Pictures, serving


def _video(path: Path, frames: int, fps: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (32, 24))
    for number in range(frames):
        writer.write(np.full((24, 32, 3), number * 10 % 250, dtype=np.uint8))
    writer.release()
    return path


def test_a_video_gives_every_frame_with_its_media_time(tmp_path: Path) -> None:
    source = open_video(VideoOptions(path=str(_video(tmp_path / "v.avi", 7))), SystemClock())

    samples: list[Sample] = []
    while (sample := source.read(0.0)) is not None:
        samples.append(sample)

    assert [round(s.t, 6) for s in samples] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    assert samples[3].array.shape == (24, 32, 3)
    assert samples[3].color == "bgr"
    assert abs(int(samples[3].array.mean()) - 30) <= 2
    assert source.ended


def test_a_truncated_video_says_how_many_frames_are_gone(tmp_path: Path) -> None:
    path = _video(tmp_path / "v.avi", 50)
    data = path.read_bytes()
    index = data.rfind(b"idx1")
    path.write_bytes(data[: index // 2])

    source = open_video(VideoOptions(path=str(path)), SystemClock())
    count = 0
    while source.read(0.0) is not None:
        count += 1

    assert 10 < count < 50
    assert source.ended


def test_pictures_come_in_order_and_bad_ones_are_counted(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("d.png", 40)):
        cv2.imwrite(str(tmp_path / name), np.full((4, 5, 3), value, dtype=np.uint8))
    (tmp_path / "c.png").write_bytes(b"no picture")
    (tmp_path / "e.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not looked at")

    source = open_images(ImagesOptions(path=str(tmp_path), fps=2.0), SystemClock())
    found = []
    while (sample := source.read(0.0)) is not None:
        found.append((sample.t, int(sample.array[0, 0, 0])))

    assert found == [(0.0, 10), (0.5, 20), (1.5, 40)]
    assert source.drops == {"bad_image": 2}


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_pictures_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(SourceError, match=r"cannot read the folder|holds no picture"):
        open_images(ImagesOptions(path=str(tmp_path / name)), SystemClock())


def _next(camera: Camera) -> Sample:
    until = time.monotonic() + 20.0
    while time.monotonic() < until:
        if (sample := camera.read(0.2)) is not None:
            return sample
    raise AssertionError("the camera sent nothing")


def _read_on(camera: Camera) -> None:
    until = time.monotonic() + 20.0
    while time.monotonic() < until:
        camera.read(0.2)


def test_the_newest_frame_of_a_camera_wins_and_the_rest_is_counted() -> None:
    pictures = Pictures(frames=100_000)
    with serving(pictures) as address:
        camera = Camera(CameraOptions(device=address), SystemClock())
        try:
            first = _next(camera)
            until = time.monotonic() + 20.0
            while camera.drops.get("overrun", 0) < 5 and time.monotonic() < until:
                pictures.over.wait(0.02)
            second = _next(camera)
        finally:
            camera.close()

    assert second.t > first.t
    assert camera.drops["overrun"] >= 5
    assert second.array.shape == (24, 32, 3)


def test_a_camera_that_ends_is_lost_without_its_password_in_the_words() -> None:
    with serving(Pictures(frames=40)) as address:
        camera = Camera(CameraOptions(device=address, stall=Duration(5.0)), SystemClock())
        try:
            with pytest.raises(SourceError) as caught:
                _read_on(camera)
        finally:
            camera.close()

    assert "***@127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_camera_that_falls_silent_is_lost_within_its_time() -> None:
    with serving(Pictures(frames=40, hangs=True)) as address:
        camera = Camera(CameraOptions(device=address, stall=Duration(1.0)), SystemClock())
        try:
            _next(camera)
            began = time.monotonic()
            with pytest.raises(SourceError):
                _read_on(camera)
            took_s = time.monotonic() - began
        finally:
            camera.close()

    assert took_s < 10.0


def test_a_camera_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(SourceError, match="cannot open the camera /dev/video-none"):
        Camera(CameraOptions(device="/dev/video-none"), SystemClock())


def test_passwords_are_taken_out_of_addresses() -> None:
    assert redacted("cannot open rtsp://me:pw@10.0.0.1/a now") == (
        "cannot open rtsp://***@10.0.0.1/a now"
    )
    assert redacted("http://10.0.0.1/a@b") == "http://10.0.0.1/a@b"

"""A network camera: MJPEG over HTTP, which ends or hangs on demand."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np


class Pictures:
    """What the camera sends: MJPEG until ``frames`` are gone or ``over`` is set.

    Args:
        frames: Pictures per visitor.
        hangs: Keep the line open after the last of them, without a word.
    """

    def __init__(self, frames: int, *, hangs: bool = False) -> None:
        self.frames = frames
        self.hangs = hangs
        self.over = threading.Event()
        _, encoded = cv2.imencode(".jpg", np.full((24, 32, 3), 99, dtype=np.uint8))
        self.jpeg = encoded.tobytes()


@contextmanager
def serving(pictures: Pictures, port: int = 0) -> Iterator[str]:
    """Serve the pictures over HTTP; yield the address, with a password in it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for _ in range(pictures.frames):
                    head = f"--frame\r\nContent-Length: {len(pictures.jpeg)}\r\n"
                    kind = "Content-Type: image/jpeg\r\n\r\n"
                    self.wfile.write((head + kind).encode() + pictures.jpeg + b"\r\n")
                    if pictures.over.wait(0.02):
                        return
                if pictures.hangs:
                    pictures.over.wait(30)
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/video.mjpg"
    finally:
        pictures.over.set()
        server.shutdown()
        thread.join()
        server.server_close()

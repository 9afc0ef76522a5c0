"""What the emulated host says, byte for byte, while it says it."""

import os
import selectors


class Stream:
    """Hands bytes on to `sink` until the mark, which ends the stream and is not handed on."""

    def __init__(self, mark, sink):
        self.mark, self.sink = mark, sink
        self.held, self.ended = b"", False

    def take(self, data):
        data = self.held + data
        self.ended = data.endswith(self.mark)
        # What may be the beginning of the mark is held back until more is known.
        held = next(size for size in range(len(self.mark), -1, -1) if data.endswith(self.mark[:size]))
        self.held = data[len(data) - held :]
        self.sink(data[: len(data) - held])


def descriptor(fd):
    """A sink that writes all it gets, however slow the reader is."""

    def write(data):
        while data:
            data = data[os.write(fd, data) :]

    return write


def follow(streams):
    """Reads pipes into streams, a dictionary, until all have ended. Whether they did so by their marks."""
    with selectors.DefaultSelector() as selector:
        for pipe, stream in streams.items():
            selector.register(pipe, selectors.EVENT_READ, stream)
        while not all(stream.ended for stream in streams.values()):
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if not data:
                    return False
                key.data.take(data)
    return True

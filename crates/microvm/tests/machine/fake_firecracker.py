#!/usr/bin/python3
"""A Firecracker that is none: it takes orders and calls as the real one does, and fails as the file `mode` beside it says."""

import http.server
import json
import os
import socket
import socketserver
import sys
import threading
import time

if "--version" in sys.argv:
    print("Firecracker v1.13.0 (stand-in)")
    sys.exit()

folder = os.path.dirname(os.path.abspath(sys.argv[0]))
mode = open(os.path.join(folder, "mode")).read().strip()
print("fake: begun", flush=True)


def die():
    print("fake: something is wrong", file=sys.stderr, flush=True)
    os._exit(7)


def boot_id_of(told):
    """What the machine was told to call its boot."""
    lines = [line.split("\t") for line in told.decode().splitlines()]
    digits = next(line[2] for line in lines if line[:2] == ["fill", "/layer/.agentkernel/boot-id"])
    return bytes.fromhex(digits).decode().strip()


def talk(caller):
    """What the agent says to its host, until it would be greeted."""
    said = caller.recv(4096)
    if said != b"CONNECT 1024\n" or mode == "takes-no-call":
        return caller.close()
    caller.sendall(b"OK 1073741824\nwaiting\n")
    told = b""
    while not told.endswith(b"go\n"):
        more = caller.recv(4096)
        if not more:
            return
        told += more
    if mode == "renews-nothing":
        caller.sendall(b"renewed\n")
    words = ["renewed", boot_id_of(told), os.urandom(16).hex(), f"{time.time():.9f}"]
    caller.sendall("\t".join(words).encode() + b"\n")
    time.sleep(1000)


def boot(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    if mode == "die-while-booting":
        die()
    while True:
        threading.Thread(target=talk, args=[listener.accept()[0]], daemon=True).start()


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    calls = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=None):
        text = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        self.answer(200, {})

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/vsock":
            Api.calls = body["uds_path"]
        if self.path == "/boot-source" and mode == "refuses-the-kernel":
            return self.answer(400, {"fault_message": "The kernel file cannot be loaded: Invalid ELF magic number"})
        if self.path == "/snapshot/create":
            if mode == "cannot-write":
                return self.answer(400, {"fault_message": "No space left on device"})
            if mode.startswith("leaves-a-"):
                # As one that somebody has taken over may: what is behind it is not its own.
                leave = os.symlink if mode == "leaves-a-link" else os.link
                for name in ("snapshot_path", "mem_file_path"):
                    leave(os.path.join(folder, "victim"), body[name])
                return self.answer(204)
            # Where its calls come in is a part of the state.
            for name, content in (("snapshot_path", Api.calls), ("mem_file_path", "memory")):
                with open(body[name], "w") as file:
                    file.write(content)
        if self.path == "/snapshot/load":
            if mode == "stillborn-snapshot":
                return self.answer(400, {"fault_message": "Failed to restore: not of this version"})
            Api.calls = open(body["snapshot_path"]).read()
        if self.path in ("/actions", "/snapshot/load"):
            threading.Thread(target=boot, args=[Api.calls], daemon=True).start()
        self.answer(204)

    do_PATCH = do_PUT


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if mode == "hang-before-listening":
    time.sleep(1000)
if mode == "die-before-listening":
    die()
Server(sys.argv[sys.argv.index("--api-sock") + 1], Api).serve_forever()

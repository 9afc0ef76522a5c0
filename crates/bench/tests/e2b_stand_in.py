#!/usr/bin/env python3
"""A stand-in of an E2B server, for tests: just what e2b_driver.py needs, with E2B's client as it is, on one port.

It prints its address, then serves until its stdin ends. Commands run on the host, in a scratch folder per sandbox.
GET /stand-in/living lists the sandboxes that live. What --fault does is told at its choices.
"""

import argparse
import base64
import json
import os
import re
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PROGRAM = "/tmp/agentkernel-bench-workload"
FAULTS = {
    "none": "every call is served",
    "wrong-output": "each command's stdout is replaced by a lie",
    "exit-1": "each command exits with 1, its output right",
    "no-room": "no sandbox is created",
    "hang": "no command ends before its connection is closed",
    "keeps": "no sandbox is deleted",
}

fault = "none"
scratch = Path(tempfile.mkdtemp(prefix="e2b-stand-in-"))
living = {}  # a sandbox's id -> the token of its calls
running = set()


def end_process(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # Clients that go away, as some tests' do, are no fault of the server.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def reply(self, status, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message):
        self.reply(status, {"code": status, "message": message})

    def read(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away amid its request")
        return data

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline() or self.read(1), 16):
            body += self.read(size)
            self.read(2)
        self.read(2)
        return body

    def serve(self):
        # Read before anything is refused: the connection is used again.
        body = self.read_body()
        url = urlsplit(self.path)
        call = f"{self.command} {url.path}"
        if call == "GET /stand-in/living":
            self.reply(200, list(living))
        elif re.match(r"(/v2)?/sandboxes(/|$)", url.path):
            self.control(call)
        else:
            self.sandbox_call(call, url.query, body)

    do_GET = do_POST = do_DELETE = serve

    def control(self, call):
        if not self.headers.get("X-API-Key"):
            self.refuse(401, "no X-API-Key")
        elif call in ("POST /sandboxes", "POST /v2/sandboxes"):
            self.create()
        elif deleted := re.fullmatch(r"DELETE /sandboxes/(\w+)", call):
            if fault == "keeps" or not living.pop(deleted[1], None):
                self.refuse(404, "no such sandbox")
            else:
                shutil.rmtree(scratch / deleted[1], ignore_errors=True)
                self.reply(204)
        else:
            self.refuse(404, f"the stand-in has no {call}")

    def create(self):
        if fault == "no-room":
            return self.refuse(400, "no room")
        sandbox, token = "i" + secrets.token_hex(10), secrets.token_hex(20)
        (scratch / sandbox).mkdir()
        living[sandbox] = token
        about = {"templateID": "base", "clientID": "stand-in", "envdVersion": "0.6.7"}
        self.reply(201, about | {"sandboxID": sandbox, "envdAccessToken": token})

    def sandbox_call(self, call, query, body):
        # The client sends the API's key to the control plane alone; a sandbox has a token of its own.
        sandbox = self.headers.get("E2b-Sandbox-Id")
        token = living.get(sandbox)
        if token is None:
            self.refuse(502, "The sandbox was not found")
        elif self.headers.get("X-Access-Token") != token:
            self.refuse(401, "no X-Access-Token, or another sandbox's")
        elif call == "GET /health":
            self.reply(204)
        elif call not in ("POST /files", "POST /process.Process/Start"):
            self.refuse(404, f"the stand-in has no {call}")
        else:
            try:
                if call == "POST /files":
                    self.write_file(scratch / sandbox, parse_qs(query).get("path"), body)
                else:
                    self.start(scratch / sandbox, json.loads(body[5:])["process"])
            except FileNotFoundError:  # it was deleted meanwhile, with its folder
                self.refuse(502, "The sandbox was not found")

    def write_file(self, folder, path, body):
        boundary = re.search(r'boundary="?([^";]+)', self.headers.get("Content-Type", ""))
        if path != [PROGRAM] or not boundary:
            return self.refuse(400, f"the stand-in only takes {PROGRAM}, as multipart")
        part = body.split(b"\r\n\r\n", 1)[1]
        (folder / "program").write_bytes(part[: part.rindex(b"\r\n--" + boundary[1].encode())])
        self.reply(200, [{"name": Path(PROGRAM).name, "path": PROGRAM, "type": "file"}])

    def frame(self, message, flag=0):
        data = json.dumps(message).encode()
        data = bytes([flag]) + len(data).to_bytes(4, "big") + data
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def start(self, folder, config):
        command = [config["cmd"], *(arg.replace(PROGRAM, f"{folder}/program") for arg in config.get("args", []))]
        if fault == "hang":
            command = ["sleep", "infinity"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        running.add(process)
        try:
            with process.stdout, process.stderr:
                self.stream(process)
        finally:
            if process.returncode is None:
                end_process(process)
                process.wait()
            running.discard(process)

    def stream(self, process):
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.frame({"event": {"start": {"pid": process.pid}}})
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, "stdout")
            selector.register(process.stderr, selectors.EVENT_READ, "stderr")
            # Watched as well, since a client that goes away must end its command.
            selector.register(self.connection, selectors.EVENT_READ)
            while len(selector.get_map()) > 1:
                for key, _ in selector.select():
                    if key.data is None:
                        if not self.connection.recv(1, socket.MSG_PEEK):
                            raise ConnectionError("the client is gone")
                        raise ConnectionError("the client sent more than its request")
                    data = os.read(key.fd, 65536)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif fault != "wrong-output" or key.data == "stderr":
                        self.output(key.data, data)
        if fault == "wrong-output":
            self.output("stdout", b"lies\n")
        code = process.wait()
        if code >= 0:
            code = 1 if fault == "exit-1" else code
            end = {"exitCode": code, "exited": True, "status": f"exit status {code}"}
        else:
            end = {"exitCode": -1, "exited": False, "status": f"signal: {-code}"}
        self.frame({"event": {"end": end}})
        self.frame({}, flag=2)
        self.wfile.write(b"0\r\n\r\n")

    def output(self, name, data):
        self.frame({"event": {"data": {name: base64.b64encode(data).decode()}}})


def main():
    global fault
    parser = argparse.ArgumentParser(description=__doc__)
    told = "; ".join(f"{name}: {what}" for name, what in FAULTS.items())
    parser.add_argument("--fault", choices=FAULTS, default="none", help=told)
    fault = parser.parse_args().fault
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    try:
        main()
    finally:
        for process in list(running):
            end_process(process)
        shutil.rmtree(scratch, ignore_errors=True)

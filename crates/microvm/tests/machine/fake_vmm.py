#!/usr/bin/python3
"""A VMM that is none: it reads its words as QEMU does, and fails in the way that the file `mode` beside it names."""

import json
import os
import socket
import sys
import threading
import time

if "--version" in sys.argv:
    print("QEMU emulator version 7.2.0 (stand-in)")
    sys.exit()

folder = os.path.dirname(os.path.abspath(sys.argv[0]))
mode = open(os.path.join(folder, "mode")).read().strip()
paths = dict(word.split(",path=") for word in sys.argv if word.startswith("socket,id="))
print("fake: begun", flush=True)


def hang():
    try:
        # For whoever waits until it has come this far.
        open(os.path.join(folder, "reached", mode), "w").close()
    except OSError:
        pass
    while True:
        time.sleep(1000)


def call(name):
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(paths[f"socket,id={name}"].replace(",,", ","))
    return caller


def die():
    print("fake: something is wrong", file=sys.stderr, flush=True)
    os._exit(7)


def hunger():
    """Wants more memory than any machine has."""
    held = []
    while True:
        held.append(b"x" * (64 << 20))


def breed():
    """Has children that outlive it, as many as it may."""
    for count in range(1000):
        try:
            if os.fork() == 0:
                os.setsid()
                hang()
        except OSError as why:
            print(f"fake: no more than {count} children: {why}", flush=True)
            die()


def hoard():
    """Writes a file that is larger than any snapshot."""
    try:
        os.ftruncate(os.open("/proc/self/fd/5/hoard", os.O_CREAT | os.O_WRONLY), 1 << 40)
    except OSError as why:
        print(f"fake: {why}", flush=True)
    die()


if mode == "hang-before-calling":
    hang()
if mode in ("hunger", "breed", "hoard"):
    globals()[mode]()
if mode == "die-before-calling":
    die()
stream, control = call("stream"), call("control").makefile("rw")
if mode == "hang-before-greeting":
    hang()
if mode == "talk-nonsense":
    print("hello", file=control, flush=True)
    hang()
print('{"QMP": {}}', file=control, flush=True)
control.readline()
print('{"return": {}}', file=control, flush=True)
if mode == "die-while-booting":
    die()
if mode == "nonsense-on-the-stream":
    stream.sendall(b"\xff" * 4096)
if mode == "hang-while-booting":
    hang()


def boot_id_of(told):
    """What the machine was told to call its boot."""
    lines = [line.split("\t") for line in told.decode().splitlines()]
    digits = next(line[2] for line in lines if line[:2] == ["fill", "/layer/.agentkernel/boot-id"])
    return bytes.fromhex(digits).decode().strip()


def guest():
    """What the machine says on its stream, until its agent would be greeted."""
    if continues and mode == "stillborn-snapshot":
        die()
    if mode in ("silent", "deaf", "stays"):
        return
    if not continues:
        stream.sendall(b"waiting\n")
    told = b""
    while not told.endswith(b"go\n"):
        told += stream.recv(4096)
    clock = 0 if mode == "clock-stands" else time.time()
    words = ["renewed", boot_id_of(told), os.urandom(16).hex(), f"{clock:.9f}"]
    if mode == "renews-nothing":
        words = words[:1]
    stream.sendall("\t".join(words).encode() + b"\n")


continues = "-incoming" in sys.argv
threading.Thread(target=guest, daemon=True).start()
for line in control:
    if mode == "deaf":
        continue
    asked = json.loads(line)["execute"]
    if asked == "migrate" and mode == "dies-writing":
        die()
    answer = {}
    if asked == "query-migrate":
        answer = {"status": "completed"}
        if mode == "cannot-write":
            answer = {"status": "failed", "error-desc": "No space left on device"}
    print(json.dumps({"return": answer}), file=control, flush=True)
    if asked == "quit" and mode != "stays":
        sys.exit()
hang()

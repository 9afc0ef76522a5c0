#!/usr/bin/python3
"""A VMM that is none: it reads its words as QEMU does, and fails in the way that the file `mode` beside it names."""

import json
import os
import socket
import sys
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
    sys.exit(7)


if mode == "hang-before-calling":
    hang()
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
for line in control:
    if mode == "deaf":
        continue
    quits = json.loads(line)["execute"] == "quit"
    print('{"return": {}}', file=control, flush=True)
    if quits and mode != "stays":
        sys.exit()
hang()

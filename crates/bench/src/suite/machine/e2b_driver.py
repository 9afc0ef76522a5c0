#!/usr/bin/env python3
"""Drives E2B's own client for the benchmark: a JSON request per line on stdin, a JSON reply per line on stdout.

{"do": "startup", "command": C}   a sandbox is created, runs C, and is killed
{"do": "open", "program": P}      a sandbox is created and kept; the host's file P, unless null, is put into it
{"do": "exec", "command": C}      the kept sandbox runs C
{"do": "close"}                   the kept sandbox is killed

The server's address and key come by the client's own variables: E2B_API_URL, E2B_SANDBOX_URL, E2B_DOMAIN, E2B_API_KEY.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

PROGRAM = "/tmp/agentkernel-bench-workload"
# The longest that every plan of E2B allows: one sandbox lives for all samples of a benchmark.
LIFE_SECONDS = 3600

creating = threading.Lock()
alive = []  # what this process created and has not seen killed
kept = None


def one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())


def end():
    """Kills what is still alive and exits."""
    # Waits for a create under way, whose sandbox is not known yet; never released, so that no other begins.
    creating.acquire()
    for sandbox in list(alive):
        try:
            sandbox.kill()
        except Exception as error:
            print(f"the sandbox {sandbox.sandbox_id} may be left: {one_line(error)}", file=sys.stderr)
    os._exit(0)


def end_at_signal():
    signal.sigwait(SIGNALS)
    end()


# A handler would not run while the client waits in its native code, so a thread takes the signals. They are blocked
# before the import, for the client's own threads to inherit that.
SIGNALS = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
threading.Thread(target=end_at_signal, daemon=True).start()

# The true stdout is for replies alone: what a library prints, from native code too, goes to stderr.
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.stdout = sys.stderr

try:
    from e2b import CommandExitException, Sandbox
except ImportError:
    print("E2B's client is not installed for this Python: pip install e2b", file=sys.stderr)
    sys.exit(69)


def create():
    with creating:
        start = time.monotonic_ns()
        sandbox = Sandbox.create(timeout=LIFE_SECONDS)
        took = time.monotonic_ns() - start
        alive.append(sandbox)
    return sandbox, took


def run(sandbox, command):
    start = time.monotonic_ns()
    try:
        result = sandbox.commands.run(command, timeout=0)
    except CommandExitException as failed:
        result = failed
    took = time.monotonic_ns() - start
    return {"exit_code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}, took


def kill(sandbox):
    start = time.monotonic_ns()
    found = sandbox.kill()
    took = time.monotonic_ns() - start
    alive.remove(sandbox)
    if not found:
        raise LookupError(f"the server did not know the sandbox {sandbox.sandbox_id} when it was to be killed")
    return took


def discard(sandbox):
    """Kills a sandbox after a failure, which is what the reply shall tell of. If this fails too, end() tries again."""
    try:
        kill(sandbox)
    except Exception:
        pass


def startup(request):
    sandbox, create_ns = create()
    try:
        reply, exec_ns = run(sandbox, request["command"])
    except Exception:
        discard(sandbox)
        raise
    rm_ns = kill(sandbox)
    return reply | {"parts_ns": {"create": create_ns, "exec": exec_ns, "rm": rm_ns}}


def open_kept(request):
    global kept
    if kept:
        raise ValueError("a sandbox is open already")
    program = Path(request["program"]).read_bytes() if request.get("program") else None
    sandbox, _ = create()
    try:
        if program is not None:
            sandbox.files.write(PROGRAM, program)
            sandbox.commands.run(f"chmod +x {PROGRAM}", timeout=0)
    except Exception:
        discard(sandbox)
        raise
    kept = sandbox
    return {"opened": sandbox.sandbox_id}


def exec_kept(request):
    if not kept:
        raise ValueError("no sandbox is open")
    reply, exec_ns = run(kept, request["command"])
    return reply | {"parts_ns": {"exec": exec_ns}}


def close_kept(_request):
    global kept
    if not kept:
        raise ValueError("no sandbox is open")
    sandbox, kept = kept, None
    kill(sandbox)
    return {"closed": True}


DO = {"startup": startup, "open": open_kept, "exec": exec_kept, "close": close_kept}


def answer(line):
    if not os.environ.get("E2B_API_KEY"):
        return {"error": "E2B_API_KEY is not set"}
    try:
        request = json.loads(line)
        return DO[request["do"]](request)
    except Exception as error:
        return {"error": one_line(error)}


try:
    print("ready", file=replies, flush=True)
    for line in sys.stdin.buffer:
        print(json.dumps(answer(line)), file=replies, flush=True)
except BrokenPipeError:
    pass  # the harness is gone, as at the end of stdin
end()

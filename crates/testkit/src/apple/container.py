#!/usr/bin/python3
"""A stand-in for Apple's `container` program, on Podman: it knows exactly the words of the real one that agentkernel
uses, each since the version that learnt it, and fails on any other. What it cannot be is a machine of its own: a
container has a user namespace of its own instead, in which processes are counted and ids mean nothing outside.

In the folder above its own: `podman`, the words that every run of podman begins with, one a line; `version`; `services`,
which is there while they run; `faults/VERB`, a shell script that is run instead, or, where it is called
`faults/VERB.after`, when all has been done; `asked`, a line for each run; `containers/NAME`, what was asked for.
"""

import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")
BLOCK = 65536


def place(*parts):
    return os.path.join(HERE, *parts)


def read(name):
    with open(place(name), encoding="utf-8") as file:
        return file.read()


VERSION = tuple(int(part) for part in read("version").strip().split("."))


def fail(kind, message, code=1):
    print(f'Error: {kind}: "{message}"', file=sys.stderr)
    sys.exit(code)


def usage(message):
    print(f"Error: {message}\nUsage: container <subcommand>", file=sys.stderr)
    sys.exit(64)


def podman(*words, check=True):
    argv = ["/usr/bin/podman", *read("podman").split("\n"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if check and done.returncode != 0:
        fail("internalError", " ".join(done.stderr.split()))
    return done


def parse(words, options, since=None, positional=1, passthrough=False):
    """Options as the real parser takes them: a value that begins with a dash is none; what comes behind the last
    positional word is passed through where the command does so."""
    given, named, index = {}, [], 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("-"):
            named.append(word)
            if passthrough and len(named) == positional:
                return given, named, words[index:]
            continue
        if word not in options or VERSION < (since or {}).get(word, (0,)):
            usage(f"Unknown option '{word}'")
        if options[word]:
            if index >= len(words) or words[index].startswith("-"):
                usage(f"Missing value for '{word}'")
            given.setdefault(word, []).append(words[index])
            index += 1
        else:
            given[word] = True
    if len(named) != positional:
        usage("Missing or unexpected argument")
    return given, named, []


def mebibytes(text):
    if not re.match(r"^[0-9]+M$", text):
        usage(f"invalid size {text}")
    return int(text[:-1]) * 1024 * 1024


def mount(text):
    """As the real parser splits it: commas, and one equals sign."""
    found = {"type": "virtiofs", "options": []}
    for part in text.split(","):
        key, *value = part.split("=", 2)
        if key in ("readonly", "ro"):
            found["options"].append("ro")
            continue
        if len(value) != 1:
            fail("invalidArgument", f"invalid directive format missing value {part} in {text}")
        if key in ("size", "mode"):
            value = str(mebibytes(value[0])) if key == "size" else value[0]
            found["options"].append(f"{key}={value}")
        elif key in ("type", "source", "destination"):
            found[key] = value[0]
        else:
            fail("invalidArgument", f"unknown directive {key} when parsing mount {text}")
    if found["type"] in ("bind", "virtiofs"):
        found["type"] = "virtiofs"
        if not os.path.isdir(found["source"]):
            fail("invalidArgument", f"path '{found['source']}' does not exist, or is not a directory")
    elif found["type"] != "tmpfs":
        fail("invalidArgument", f"unsupported mount type {found['type']}")
    else:
        found["source"] = ""
    kind = found.pop("type")
    return {"type": {kind: {}}, **found}


def label(text):
    parts = text.split("=", 2)
    if len(parts) > 2:
        fail("invalidArgument", f"invalid label format {text}")
    return parts[0], "".join(parts[1:])


def rlimit(text):
    name, values = text.split("=", 1)
    soft, hard = values.split(":")
    if name not in ("core", "fsize", "memlock", "nofile", "nproc", "sigpending"):
        fail("invalidArgument", f"unsupported ulimit type '{name}'")
    return {"limit": f"RLIMIT_{name.upper()}", "soft": int(soft), "hard": int(hard)}


CREATE = {
    "--name": True, "--rm": False, "--label": True, "--network": True, "--cap-drop": True, "--uid": True, "--gid": True,
    "--workdir": True, "--cpus": True, "--memory": True, "--ulimit": True, "--shm-size": True, "--mount": True,
    "--entrypoint": True, "--read-only": False, "--no-dns": False,
    # What the real one knows, too, and only a test asks for.
    "--cap-add": True, "--publish": True, "--ssh": False, "--init": False,
}
SINCE = {
    "--network": (0, 6, 0), "--read-only": (0, 8, 0), "--ulimit": (0, 9, 0), "--init": (0, 10, 0),
    "--cap-drop": (0, 12, 0), "--cap-add": (0, 12, 0), "--shm-size": (1, 0, 0),
}


def environment_of(image):
    found = json.loads(podman("image", "inspect", image).stdout)[0]["Config"]
    return found.get("Env") or []


def configuration(name, image, given, arguments):
    one = lambda option, default=None: given.get(option, [default])[-1]
    entrypoint = [one("--entrypoint")] if "--entrypoint" in given else []
    process = entrypoint + arguments
    if not process:
        fail("invalidArgument", "command/entrypoint not specified for container process")
    if int(one("--cpus", "4")) < 1 or mebibytes(one("--memory", "1024M")) < 200 << 20:
        fail("invalidArgument", "minimum memory amount allowed is 200 MiB")
    networks = given.get("--network", ["default"])
    return {
        "id": name,
        "image": {"reference": image},
        "labels": dict(label(text) for text in given.get("--label", [])),
        "mounts": [mount(text) for text in given.get("--mount", [])],
        "networks": [] if networks == ["none"] else [{"network": network} for network in networks],
        "publishedPorts": given.get("--publish", []), "publishedSockets": [],
        "readOnly": "--read-only" in given, "ssh": "--ssh" in given, "rosetta": False, "virtualization": False,
        "useInit": "--init" in given, "runtimeHandler": "container-runtime-linux", "sysctls": {},
        **({} if "--no-dns" in given else {"dns": {"nameservers": []}}),
        "capAdd": given.get("--cap-add", []), "capDrop": given.get("--cap-drop", []),
        **({"shmSize": mebibytes(one("--shm-size"))} if "--shm-size" in given else {}),
        "resources": {
            "cpus": int(one("--cpus", "4")), "memoryInBytes": mebibytes(one("--memory", "1024M")), "cpuOverhead": 1,
        },
        "initProcess": {
            "executable": process[0], "arguments": process[1:], "environment": environment_of(image),
            "workingDirectory": one("--workdir", "/"), "terminal": False,
            "user": {"id": {"uid": int(one("--uid", "0")), "gid": int(one("--gid", "0"))}}, "supplementalGroups": [],
            "rlimits": [rlimit(text) for text in given.get("--ulimit", [])],
        },
    }


def block():
    """Ids that no other container of this stand-in has: as in a machine, they mean nothing elsewhere."""
    for number in range(1000):
        try:
            os.mkdir(place("blocks", str(number)))
            return number
        except FileExistsError:
            continue
    fail("internalError", "no more blocks of ids")


def words_for_podman(asked, number):
    process, user = asked["initProcess"], asked["initProcess"]["user"]["id"]
    ids = f"0:{(1 << 24) + number * BLOCK}:{BLOCK}"
    words = ["create", "--name", asked["id"], "--hostname", asked["id"].split(".")[0], "--rm", "--log-driver", "none"]
    words += ["--uidmap", ids, "--gidmap", ids, "--network", "none", "--no-hosts", "--http-proxy=false"]
    words += ["--user", f"{user['uid']}:{user['gid']}", "--workdir", process["workingDirectory"]]
    words += ["--security-opt", "seccomp=unconfined", "--pull", "never", "--systemd=false", "--image-volume", "ignore"]
    words += ["--cpus", str(asked["resources"]["cpus"])]
    memory = str(asked["resources"]["memoryInBytes"])
    words += ["--memory", memory, "--memory-swap", memory, "--pids-limit", "4096"]
    words += ["--shm-size", str(asked.get("shmSize", 64 << 20))]
    words += [word for name in asked["capDrop"] for word in ("--cap-drop", name.lower())]
    words += [word for name in asked["capAdd"] for word in ("--cap-add", name.lower())]
    words += ["--read-only", "--read-only-tmpfs=false"] if asked["readOnly"] else []
    limits = {limit["limit"][7:].lower(): limit for limit in process["rlimits"]}
    for name in ("nofile", "nproc"):
        limits.setdefault(name, {"soft": 1 << 14, "hard": 1 << 14})
    for name, limit in limits.items():
        words += ["--ulimit", f"{name}={limit['soft']}:{limit['hard']}"]
    for found in asked["mounts"]:
        if "tmpfs" in found["type"]:
            options = dict(option.split("=") for option in found["options"])
            text = f"type=tmpfs,destination={found['destination']},notmpcopyup"
            text += "".join(f",tmpfs-{name}={options[name]}" for name in ("size", "mode") if name in options)
        else:
            access = ",ro=true" if "ro" in found["options"] else ""
            text = f"type=bind,source={found['source']},destination={found['destination']}{access}"
        words += ["--mount", text]
    words += ["--entrypoint", json.dumps([process["executable"]])]
    return words + [asked["image"]["reference"]] + process["arguments"]


def has_image(image):
    return podman("image", "exists", image, check=False).returncode == 0


def create(words):
    given, (image,), arguments = parse(words, CREATE, SINCE, passthrough=True)
    name = given.get("--name", ["anonymous"])[-1]
    if not NAME.match(name) or len(name) > 63:
        fail("invalidArgument", f"container ID {name} is not a valid container ID")
    if not has_image(image):
        # The real one goes to the registry now.
        with open(place("fetched"), "a", encoding="utf-8") as file:
            file.write(image + "\n")
        fail("internalError", f"failed to fetch {image}")
    asked = configuration(name, image, given, arguments)
    if podman("container", "exists", name, check=False).returncode == 0:
        fail("exists", f"container already exists: {name}")
    number = block()
    forget(name)
    with open(place("containers", name), "w", encoding="utf-8") as file:
        json.dump({"block": number, "configuration": asked}, file)
    podman(*words_for_podman(asked, number))
    print(name)


def forget(name):
    try:
        with open(place("containers", name), encoding="utf-8") as file:
            number = json.load(file)["block"]
        os.unlink(place("containers", name))
        os.rmdir(place("blocks", str(number)))
    except FileNotFoundError:
        pass


def states():
    """Containers that there are, each with whether it runs."""
    listed = podman("ps", "--all", "--format", "{{.Names}} {{.Status}}").stdout
    named = (line.split(" ", 1) for line in listed.splitlines())
    return {name: "running" if status.startswith("Up ") else "stopped" for name, status in named}


def shown(name, state):
    try:
        with open(place("containers", name), encoding="utf-8") as file:
            asked = json.load(file)["configuration"]
    except FileNotFoundError:
        return None
    if VERSION < (1, 0, 0):
        return {"status": state, "configuration": asked, "networks": []}
    return {"id": name, "configuration": asked, "status": {"state": state, "networks": []}}


def not_found(name):
    fail("notFound", f"container not found: {name}")


def inspect(words):
    _, (name,), _ = parse(words, {})
    found = [shown(name, state) for known, state in states().items() if known == name]
    found = [one for one in found if one]
    if not found and VERSION >= (1, 0, 0):
        not_found(name)
    print(json.dumps(found, indent=2))


def list_all(words):
    given, _, _ = parse(words, {"--all": False, "--format": True}, positional=0)
    found = [shown(name, state) for name, state in states().items()]
    if "--all" not in given or given["--format"] != ["json"]:
        usage("this stand-in knows no other list")
    print(json.dumps([one for one in found if one]))


def known(name):
    state = states().get(name)
    if state is None:
        not_found(name)
    return state


def start(words):
    _, (name,), _ = parse(words, {})
    known(name)
    podman("start", name)
    print(name)


def execute(words):
    options = {"--interactive": False, "--uid": True, "--gid": True}
    given, (name,), arguments = parse(words, options, passthrough=True)
    if known(name) != "running":
        fail("invalidState", f"container {name} is not running")
    if not arguments:
        usage("Missing expected argument '<arguments> ...'")
    more = ["--interactive"] if "--interactive" in given else []
    more += ["--user", f"{given['--uid'][0]}:{given['--gid'][0]}"] if "--uid" in given else []
    argv = ["/usr/bin/podman", *read("podman").split("\n"), "exec", *more, name, *arguments]
    os.execv(argv[0], argv)


def until_gone(name):
    for _ in range(500):
        if podman("container", "exists", name, check=False).returncode != 0:
            return forget(name)
        time.sleep(0.02)
    fail("internalError", f"{name} does not go")


def stop(words):
    given, (name,), _ = parse(words, {"--signal": True, "--time": True})
    if given.get("--signal") != ["SIGKILL"]:
        usage("this stand-in knows no other signal")
    if known(name) == "running":
        podman("kill", "--signal", "KILL", name, check=False)
        until_gone(name)
    print(name)


def delete(words):
    given, (name,), _ = parse(words, {"--force": False})
    if known(name) == "running" and "--force" not in given:
        fail("invalidState", f"container {name} is running and can not be deleted")
    podman("rm", "--force", "--time", "0", name, check=False)
    until_gone(name)
    print(name)


def stats(words):
    given, (name,), _ = parse(words, {"--format": True, "--no-stream": False})
    if known(name) != "running" or given.get("--format") != ["json"]:
        not_found(name)
    line = podman("stats", "--no-stream", "--format", "{{.MemUsageBytes}} {{.CPUNano}} {{.PIDS}}", name).stdout
    memory, cpu, pids = re.match(r"^([0-9.]+\w+) / \S+ ([0-9]+) ([0-9]+)", line).groups()
    unit = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    number, name_of_unit = re.match(r"^([0-9.]+)(\w+)$", memory).groups()
    used = int(float(number) * unit[name_of_unit])
    print(json.dumps([{"id": name, "memoryUsageBytes": used, "cpuUsageUsec": int(cpu) // 1000, "numProcesses": int(pids)}]))


def image(words):
    if words[:1] != ["inspect"]:
        usage(f"Unknown subcommand '{' '.join(words[:1])}'")
    _, (name,), _ = parse(words[1:], {})
    if not has_image(name):
        fail("notFound", f"image not found: {name}")
    print(json.dumps([{"configuration": {"name": name}, "variants": []}]))


def status(words):
    if words != ["status", "--format", "json"]:
        usage("this stand-in knows no other word of system")
    runs = os.path.exists(place("services"))
    print(json.dumps({"status": "running" if runs else "unregistered"}))
    sys.exit(0 if runs else 1)


VERBS = {
    "create": create, "start": start, "exec": execute, "inspect": inspect, "list": list_all, "stop": stop,
    "delete": delete, "stats": stats, "image": image, "system": status,
}


def fault(verb):
    path = place("faults", verb)
    if os.path.exists(path):
        os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        if not verb.endswith(".after"):
            os.execv("/bin/sh", ["sh", path])
        sys.exit(subprocess.run(["/bin/sh", path], check=False).returncode)


def main():
    words = sys.argv[1:]
    with open(place("asked"), "a", encoding="utf-8") as file:
        file.write(" ".join(words) + "\n")
    if words == ["--version"]:
        fault("version")
        print(f"container CLI version {read('version').strip()} (build: release, commit: standin)")
        return
    if not words or words[0] not in VERBS:
        usage(f"Unknown subcommand '{' '.join(words[:1])}'")
    verb = "report" if words[0] == "exec" and words[-1] == "report" else words[0]
    fault(verb)
    if words[0] != "system" and not os.path.exists(place("services")):
        fail("interrupted", "internalError: XPC connection error: Connection invalid\nEnsure container system service "
             "has been started with `container system start`.")
    VERBS[words[0]](words[1:])
    sys.stdout.flush()
    fault(f"{verb}.after")


main()

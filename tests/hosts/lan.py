"""A network of hosts on this machine: namespaces of Linux, each with an address of its own.

A host has its own network, processes, name, shared memory and `/tmp/ray`. A pair of veth joins it
to one bridge, where this process has an address, too. No way leads elsewhere. When a host is
killed, so are all its processes. When this process ends, however it does, all hosts are.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.hosts.wire import Wire

_OWN = """
hostname {name} && mount -t tmpfs tmpfs /dev/shm && mount --bind {folder}/ray /tmp/ray &&
mount --bind {folder}/hosts /etc/hosts && mount --bind {folder}/resolv.conf /etc/resolv.conf
"""
_FIRST = "echo ready; read -r line"  # it reaps what its processes leave, and ends with its input


class Host:
    """One host, up until it is killed. `name` is its host name, `address` its IPv4 address."""

    def __init__(self, name: str, address: str, space: str, veth: str, bridge: str, folder: Path):
        self.name = name
        self.address = address
        self.folder = folder
        self._space = space
        self._veth = veth
        self._bridge = bridge
        self._first: subprocess.Popen[bytes] | None = None
        self._running: list[subprocess.Popen[bytes]] = []

    def boot(self) -> None:
        """Start the host: its first process, with a `/tmp/ray` as empty as after a crash."""
        ray = self.folder / "ray"
        shutil.rmtree(ray, ignore_errors=True)
        ray.mkdir(parents=True)
        # A name that is asked for is known or unknown at once: there is no name server to wait for.
        names = f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n"  # as Debian has it
        (self.folder / "hosts").write_text(names)
        (self.folder / "resolv.conf").write_text("")
        own = _OWN.format(folder=self.folder, name=self.name).replace("\n", " ")
        apart = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"]
        command = ["ip", "netns", "exec", self._space, "unshare", *apart]
        log = self.folder / "first.log"
        with log.open("ab") as errors:
            self._first = subprocess.Popen(
                [*command, "bash", "-c", f"{own} && {_FIRST}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"ready\n", log.read_text()

    def run(
        self, command: list[str], log: Path, environment: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a program on the host; what it says is added to the log."""
        enter = ["nsenter", f"--target={self.first.pid}", "--net", "--pid", "--mount", "--uts"]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*enter, "--ipc", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        self._running.append(process)
        return process

    @property
    def is_up(self) -> bool:
        """Whether the host runs."""
        return self._first is not None

    @property
    def first(self) -> psutil.Process:
        """The host's first process: all others there end with it."""
        assert self._first is not None, f"{self.name} is down"
        [first] = psutil.Process(self._first.pid).children()
        return first

    def running(self, command: str) -> list[psutil.Process]:
        """Return the host's processes whose command line begins so."""
        found = []
        for pid in (self.first.pid, *(one.pid for one in self._running if one.poll() is None)):
            with contextlib.suppress(psutil.Error):
                for process in psutil.Process(pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if " ".join(process.cmdline()).startswith(command):
                            found.append(process)
        return found

    def plug(self) -> None:
        """Join the host to the bridge."""
        ip("link", "set", self._veth, "master", self._bridge)

    def unplug(self) -> None:
        """Take the host off the bridge: it notices nothing but the silence, and so do others."""
        ip("link", "set", self._veth, "nomaster")

    def kill(self) -> None:
        """Take the host off, and end all its processes at once: nobody hears of it."""
        self.unplug()
        self.end()

    def end(self) -> None:
        """End all processes of the host at once."""
        if self._first is None:
            return
        with contextlib.suppress(psutil.Error, ValueError):
            self.first.send_signal(signal.SIGKILL)
        assert self._first.stdin is not None
        assert self._first.stdout is not None
        self._first.stdin.close()
        self._first.stdout.close()
        self._first.wait(30)
        for process in self._running:
            process.wait(30)
        self._first = None
        self._running = []

    @contextmanager
    def on_a_wire(self, *, delay: float = 0.0, loss: float = 0.0) -> Iterator[Wire]:
        """Put a slow or lossy wire between the host and the bridge, until the block ends."""
        tap = f"{self._veth}t"
        with Wire(self._veth, tap, delay=delay, loss=loss) as wire:
            ip("link", "set", tap, "master", self._bridge, "up")
            self.unplug()
            try:
                yield wire
            finally:
                self.plug()


class Lan:
    """The bridge and its hosts. `address` is that of this process there."""

    def __init__(self, folder: Path, kind: str = "") -> None:
        self._folder = folder
        # Of two networks of one process, and of two processes, each has names of its own.
        self._mark = f"rt{os.getpid()}{kind[:1]}"
        self._net = f"10.{77 + len(kind)}.{os.getpid() % 256}"
        self._bridge = f"{self._mark}b"
        self.hosts: list[Host] = []
        self.address = f"{self._net}.254"

    def open(self) -> None:
        """Make the bridge. Raises `CalledProcessError`."""
        Path("/tmp/ray").mkdir(exist_ok=True)
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")

    def add(self, name: str) -> Host:
        """Make a host, start it, and join it to the bridge."""
        number = len(self.hosts) + 1
        space, address = f"{self._mark}-{name}", f"{self._net}.{number}"
        veth = f"{self._mark}v{number}"
        host = Host(name, address, space, veth, self._bridge, self._folder / name)
        ip("netns", "add", space)
        self.hosts.append(host)
        ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", space)
        # While a wire of our own carries its frames, this end must not answer for the bridge.
        ip("link", "set", veth, "arp", "off", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "link", "set", "eth0", "up")
        whole = [sys.executable, str(Path(__file__).with_name("wire.py"))]
        subprocess.run(["ip", "netns", "exec", space, *whole], check=True, timeout=30)
        host.plug()
        host.boot()
        return host

    def close(self) -> None:
        """Remove the hosts and the bridge, with all that runs there."""
        for host in self.hosts:
            host.end()
            subprocess.run(["ip", "netns", "del", host._space], check=False, timeout=30)
            _forget(host._veth)
        self.hosts = []
        _forget(self._bridge)


def ip(*arguments: str) -> None:
    """Run iproute2's `ip`. Raises `CalledProcessError`, with what it said on standard error."""
    subprocess.run(["ip", *arguments], check=True, timeout=30)


def _forget(interface: str) -> None:
    """Remove an interface, if it is there: a namespace's end removes its veth some time later."""
    command = ["ip", "link", "del", interface]
    subprocess.run(command, check=False, timeout=30, stderr=subprocess.DEVNULL)


def lacking() -> str | None:
    """Return why no hosts can be made here; None if they can."""
    if os.name != "posix" or sys.platform != "linux" or os.getuid() != 0:
        return "network namespaces need root on Linux"
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install iproute2 util-linux"
    name = f"rt{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.decode().strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None

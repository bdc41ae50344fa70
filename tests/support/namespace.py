"""A Linux network namespace with virtual cables whose packets can be lost or dropped.

All rules are the namespace's own and go with it; what a run that was killed has left is removed by the next.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

_PREFIX = "drover-test-"
_COMMAND_SECONDS = 10.0
# For tests of networks (RFC 2544). Even of such addresses some are in use on some machines.
_RANGE = IPv4Network("198.18.0.0/15")
_NETWORK_BITS = 24
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+(?:/\d+)?")
_DROPPED = re.compile(r"^\s*(\d+)\s+\d+\s+DROP", re.MULTILINE)


class NoNamespaces(Exception):
    """Says why this machine or user cannot have any."""


@dataclass(frozen=True)
class Cable:
    """`address`: of the namespace's end, from outside."""

    device: str
    inner_device: str
    outer_address: str
    address: str

    def unplug(self) -> None:
        _run("ip", "link", "set", self.device, "down")

    def plug(self) -> None:
        _run("ip", "link", "set", self.device, "up")


@dataclass(frozen=True)
class Namespace:
    """`within`: a command that runs others inside."""

    name: str
    cables: Sequence[Cable]

    @property
    def within(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def lose(self, part: float) -> None:
        """Of all packets, in both directions."""
        for chain in ("INPUT", "OUTPUT"):
            chance = ("-m", "statistic", "--mode", "random", "--probability", str(part))
            self._iptables("-A", chain, "!", "-i" if chain == "INPUT" else "-o", "lo", *chance, "-j", "DROP")

    def drop(self, cable: Cable, port: int | None = None) -> None:
        """Everything, or everything of one port in here, on one cable, in both directions."""
        ins = () if port is None else ("-p", "tcp", "--dport", str(port))
        outs = () if port is None else ("-p", "tcp", "--sport", str(port))
        self._iptables("-A", "INPUT", "-i", cable.inner_device, *ins, "-j", "DROP")
        self._iptables("-A", "OUTPUT", "-o", cable.inner_device, *outs, "-j", "DROP")

    def heal(self) -> None:
        self._iptables("-F")

    def dropped(self) -> list[int]:
        """Packets, by rule."""
        return [int(count) for count in _DROPPED.findall(self._iptables("-L", "-v", "-x", "-n"))]

    def _iptables(self, *arguments: str) -> str:
        return _run(*self.within, "iptables", "-w", *arguments)


@contextmanager
def namespace(cables: int = 1) -> Iterator[Namespace]:
    """One at a time in a process. Raises NoNamespaces."""
    _check_possible()
    _remove_leftovers()
    network = _free_network()
    made = Namespace(f"{_PREFIX}{os.getpid()}", [_cable(number, network) for number in range(cables)])
    try:
        _run("ip", "netns", "add", made.name)
        for cable in made.cables:
            _lay(cable, made)
        _run(*made.within, "ip", "link", "set", "lo", "up")
        yield made
    except subprocess.CalledProcessError as error:
        raise NoNamespaces(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error
    finally:
        _remove(made.name, os.getpid())


def _free_network() -> IPv4Network:
    """One that this machine has neither an address in nor a route to."""
    words = _run("ip", "-4", "route", "show", "table", "all").split()
    taken = [IPv4Network(word, strict=False) for word in words if _ADDRESS.fullmatch(word)]
    for network in _RANGE.subnets(new_prefix=_NETWORK_BITS):
        if not any(network.overlaps(other) for other in taken):
            return network
    raise NoNamespaces(f"all of {_RANGE} is in use here")


def _cable(number: int, network: IPv4Network) -> Cable:
    pid = os.getpid()
    first = 4 * number + 1
    return Cable(f"dr{pid}o{number}", f"dr{pid}i{number}", str(network[first]), str(network[first + 1]))


def _lay(cable: Cable, to: Namespace) -> None:
    _run("ip", "link", "add", cable.device, "type", "veth", "peer", "name", cable.inner_device)
    _run("ip", "link", "set", cable.inner_device, "netns", to.name)
    _run("ip", "addr", "add", f"{cable.outer_address}/30", "dev", cable.device)
    cable.plug()
    _run(*to.within, "ip", "addr", "add", f"{cable.address}/30", "dev", cable.inner_device)
    _run(*to.within, "ip", "link", "set", cable.inner_device, "up")


def _check_possible() -> None:
    if os.geteuid() != 0:
        raise NoNamespaces("network namespaces need root")
    for command in ("ip", "iptables"):
        if shutil.which(command) is None:
            raise NoNamespaces(f"there is no {command}: apt-get install -y iproute2 iptables")


def _remove_leftovers() -> None:
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        pid = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and not Path(f"/proc/{pid}").exists():
            _remove(name, int(pid))


def _remove(name: str, pid: int) -> None:
    """Also half of one. A cable has two ends and goes with either."""
    for device in Path("/sys/class/net").glob(f"dr{pid}o*"):
        _run("ip", "link", "del", device.name)
    if Path(f"/run/netns/{name}").exists():
        _run("ip", "netns", "del", name)


def _run(*command: str) -> str:
    """Raises CalledProcessError, with what it said."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
    return done.stdout

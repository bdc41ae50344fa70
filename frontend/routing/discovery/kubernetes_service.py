"""Name of a Kubernetes Service in the setting `workers`."""

from __future__ import annotations

import re
from dataclasses import dataclass

K8S = "k8s:"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Service:
    name: str
    namespace: str
    port: str

    @staticmethod
    def parse(address: str) -> Service:
        """Parse `service.namespace:port` or `service:port`, whose namespace is empty. The port is the pods',
        by number or name. Raises ValueError.
        """
        host, _, port = address.rpartition(":")
        name, dot, namespace = host.partition(".")
        names = [name, namespace] if dot else [name]
        good_port = 0 < int(port) < 65536 if port.isdecimal() else _LABEL.fullmatch(port)
        if not good_port or not all(_LABEL.fullmatch(part) for part in names):
            raise ValueError(
                "it must be k8s:service.namespace:port or k8s:service:port, the port by number or name"
            )
        return Service(name, namespace, port)

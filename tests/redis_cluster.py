"""Redis Clusters for the tests: real nodes on free ports, joined, with a replica each where wanted."""

import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.redis_records import SLOTS, key_slot
from tests.redis_server import RedisServer, free_port

NODE_TIMEOUT_MS = 1000  # after which a silent primary is replaced by its replica
READY_WITHIN = 30.0
HIGHEST = 65_535 - 10_000  # the nodes talk on a port that is 10,000 higher


class RedisCluster:
    """Nodes of one cluster: `primaries` as they were at the start, and the `replicas` of each."""

    def __init__(self, primaries: list[RedisServer], replicas: list[RedisServer]) -> None:
        self.primaries = primaries
        self.replicas = replicas

    @property
    def nodes(self) -> list[RedisServer]:
        return [node for node in self.primaries + self.replicas if node.process is not None]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def join(self) -> None:
        """Make one cluster of the nodes, and wait until all of them see it whole."""
        first = self.primaries[0]
        count = len(self.primaries)
        for number, primary in enumerate(self.primaries):
            slots = range(number * SLOTS // count, (number + 1) * SLOTS // count)
            primary.raw("CLUSTER", "ADDSLOTS", *slots)
            primary.raw("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.raw("CLUSTER", "MEET", "127.0.0.1", first.port)
        _until(lambda: all(len(self.known(node)) == len(self.nodes) for node in self.nodes))
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            own = primary.raw("CLUSTER", "MYID").decode()
            _until(lambda own=own, replica=replica: own in self.known(replica))
            replica.raw("CLUSTER", "REPLICATE", own)
        self.wait_whole()
        _until(lambda: all(b"master_link_status:up" in replica.raw("INFO", "replication") for replica in self.replicas))

    def known(self, node: RedisServer) -> list[str]:
        """Return the ids of the nodes that a node has shaken hands with."""
        lines = node.raw("CLUSTER", "NODES").decode().splitlines()
        return [line.split()[0] for line in lines if "handshake" not in line]

    def wait_whole(self) -> None:
        """Wait until all nodes that run see all slots served, and agree by whom."""
        _until(lambda: all(b"cluster_state:ok" in node.raw("CLUSTER", "INFO") for node in self.nodes))
        _until(lambda: len({str(self.owners(node)) for node in self.nodes}) == 1)

    def owners(self, node: RedisServer) -> list[tuple[int, int, int]]:
        """Return first and last slot and the port of the primary of each range, as a node sees it."""
        return sorted((first, last, primary[1]) for first, last, primary, *_ in node.raw("CLUSTER", "SLOTS"))

    def owner(self, slot: int) -> RedisServer:
        """Return the primary that has a slot now."""
        found = self.owners(self.nodes[0])
        port = next(port for first, last, port in found if first <= slot <= last)
        return next(node for node in self.primaries + self.replicas if node.port == port)

    def holder(self, key: str) -> RedisServer:
        """Return the primary that has a key now."""
        return self.owner(key_slot(key))

    def move(self, slot: int, target: RedisServer) -> None:
        """Move a slot with its keys to another primary, as `redis-cli --cluster reshard` does."""
        source = self.owner(slot)
        own, other = source.raw("CLUSTER", "MYID"), target.raw("CLUSTER", "MYID")
        target.raw("CLUSTER", "SETSLOT", slot, "IMPORTING", own)
        source.raw("CLUSTER", "SETSLOT", slot, "MIGRATING", other)
        while keys := source.raw("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.raw("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            if not (node in self.replicas and node is not target):
                node.raw("CLUSTER", "SETSLOT", slot, "NODE", other)

    def move_key(self, key: str, target: RedisServer) -> None:
        """Move a key with all that is in its slot."""
        self.move(key_slot(key), target)

    def at_primaries(self, *arguments: Any) -> list[Any]:
        """Run a command at all primaries."""
        ports = {port for _, _, port in self.owners(self.nodes[0])}
        return [node.raw(*arguments) for node in self.nodes if node.port in ports]

    def key_names(self) -> list[bytes]:
        """Return all keys."""
        return sorted(itertools.chain.from_iterable(self.at_primaries("KEYS", "*")))


@contextmanager
def running_cluster(
    folder: Path, *options: str, replicas: bool = False, binary: Path | None = None
) -> Iterator[RedisCluster]:
    """Give a cluster of three primaries that runs, with a replica each where wanted, and end it."""
    with ExitStack() as stack:
        nodes = []
        for number in range(6 if replicas else 3):
            place = folder / str(number)
            place.mkdir()
            enabled = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), *options)
            node = RedisServer(place, *enabled, binary=binary, data=False, port=low_port())
            node.start()
            stack.callback(node.end)
            nodes.append(node)
        cluster = RedisCluster(nodes[:3], nodes[3:])
        cluster.join()
        yield cluster


def low_port() -> int:
    """Return a free port whose neighbour for the talk between nodes is free, too."""
    while True:
        port = free_port()
        if port <= HIGHEST:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port + 10_000)):
                    return port


def _until(condition: Any) -> None:
    end = time.monotonic() + READY_WITHIN
    while not condition():
        assert time.monotonic() < end, "the cluster did not come together"
        time.sleep(0.02)

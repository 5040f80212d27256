# SPDX-License-Identifier: PostgreSQL
"""Real servers for the integration tests, the bench and the demo.

Every piece owns its processes, ports and directories and takes them back down. Nothing here
sleeps in the hope that something is ready: wait.py waits for a condition with a deadline.

    wait.py      wait_for()
    ports.py     free ports, safe between parallel runs
    process.py   one child process, its user, its network, its signals; facts from /proc
    etcd.py      an etcd cluster and a small client for it
    node.py      one agent with its PostgreSQL, of kind pgvigil or patroni
    cluster.py   several nodes on one etcd
    writer.py    a client that writes without end and measures outages
    sampler.py   watches /primary on all nodes at once
    netns.py     network namespaces, to cut a node off
    haproxy.py   HAProxy in front of a cluster
"""

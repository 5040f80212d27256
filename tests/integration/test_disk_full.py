# SPDX-License-Identifier: PostgreSQL
"""A disk that is full: PostgreSQL cannot go on, and what is not there cannot be copied to."""

import os
import stat

import psycopg2
import pytest

from lib.disk import Disk
from lib.wait import wait_for

FILL = "INSERT INTO harness_bulk SELECT repeat(md5(g::text), 30) FROM generate_series(1, 2000) g"
WAL_DISK_MB = 80


def write_until_it_breaks(node):
    """Until its WAL does not fit any more."""
    def broken():
        try:
            node.sql("CREATE TABLE IF NOT EXISTS harness_bulk (t text)")
            node.sql(FILL)
        except psycopg2.Error:
            return True
        return False
    wait_for(broken, 30, f"{node.name} cannot write its WAL", interval=0)


@pytest.mark.pgvigil
@pytest.mark.disk
class TestWalDisk:
    """The WAL of n1 has a disk of its own."""

    @pytest.fixture()
    def cluster(self, make_cluster):
        cluster = make_cluster(2, start=False, dcs={"postgresql": {"parameters": {
            "max_wal_size": "48MB", "min_wal_size": "32MB"}}})
        node = cluster["n1"]
        cluster.disks.append(Disk(os.path.join(node.dir, "disk"), WAL_DISK_MB))
        wal = {"waldir": os.path.join(cluster.disks[0].dir, "wal")}
        node.config["bootstrap"]["initdb"].append(wal)
        node.config["postgresql"]["basebackup"] = [wal]
        return cluster.start()

    def test_another_leads_and_it_comes_back(self, cluster):
        """It is not even tried to rewind as long as there is no room to."""
        old, new, disk = cluster["n1"], cluster["n2"], cluster.disks[0]
        disk.fill()
        offset = old.log_size()
        write_until_it_breaks(old)
        cluster.wait_leader(new, 30)
        new.sql("CREATE TABLE harness_after (i int)")
        wait_for(lambda: "comparing timelines" in old.log_text(offset), 30, "it is asked who is ahead")
        log = old.log_text(offset)
        assert log.count("trying to start again") <= 2, log
        disk.resize(400)  # for the WAL that it keeps, too
        disk.free()
        cluster.wait_healthy(60)
        assert old.sql("SELECT count(*) FROM harness_after") == [(0,)]
        log = old.log_text(offset)
        assert "pg_rewind ended while it copied" not in log
        assert log.count("comparing timelines") <= 40, "compared without end"

    def test_rewind_that_does_not_fit_is_never_started(self, cluster):
        """pg_rewind runs out of room in the midst of copying. It removes what the leader does not
        have before it has copied anything, and the mark on the directory must stay."""
        old, new, disk = cluster["n1"], cluster["n2"], cluster.disks[0]
        mark = os.path.join(old.data_dir, "pgvigil.rewinding")
        disk.fill(but_mb=1)
        write_until_it_breaks(old)
        cluster.wait_leader(new, 30)
        new.sql("CREATE TABLE harness_bulk_2 (t text)")
        for _ in range(20):  # more WAL than there will be room for
            new.sql(FILL.replace("harness_bulk", "harness_bulk_2"))
        offset = old.log_size()
        disk.free()
        disk.fill(but_mb=20)
        wait_for(lambda: "pg_rewind ended while it copied" in old.log_text(offset), 60, "it runs out of room")
        wait_for(lambda: "not starting: a pg_rewind has not been finished" in old.log_text(offset), 30, "not started")
        ended = old.log_text(offset).index("pg_rewind ended while it copied")
        assert stat.S_ISFIFO(os.stat(mark).st_mode)
        assert "starting PostgreSQL" not in old.log_text(offset)[ended:]
        disk.resize(400)
        disk.free()
        cluster.ctl("reinit", cluster.scope, "n1", "--force")
        cluster.wait_healthy(60)
        assert not os.path.exists(mark)

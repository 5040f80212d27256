# SPDX-License-Identifier: PostgreSQL
"""A client that writes numbered rows without end, as an application with a multi-host
connection string (or HAProxy) would, and knows of each row whether it was acknowledged."""

import threading
import time

import psycopg2

from .process import now
from .wait import wait_for

TABLE = "CREATE TABLE IF NOT EXISTS harness_rows (id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())"


class Writer:
    """acked: [(time of the acknowledgement, id)]. A row whose INSERT ended in an error may or may
    not be there: it is nobody's loss."""

    def __init__(self, cluster, host=None, port=None, pace=0.004):
        first = cluster.nodes[0]
        self.dsn = first.dsn(
            host=host or ",".join(node.host for node in cluster.nodes),
            port=str(port or ",".join(str(node.pg_port) for node in cluster.nodes)),
            target_session_attrs="any" if port else "read-write",
            connect_timeout=2, tcp_user_timeout=1500, application_name="writer",
            options="-c statement_timeout=3000")
        self.pace = pace
        self.acked = []
        self.errors = []
        self.next_id = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        # HAProxy takes all servers for good until its first checks, so this may need some tries
        self.next_id = wait_for(self._prepare, 30, "the table of the writer")
        self.thread.start()
        self.wait_writes(10)
        return self

    @staticmethod
    def _connect(dsn):
        connection = psycopg2.connect(**dsn)
        connection.autocommit = True
        return connection

    def _prepare(self):
        connection = self._connect(self.dsn)
        try:
            with connection.cursor() as cursor:
                cursor.execute(TABLE)
                cursor.execute("SELECT coalesce(max(id), 0) + 1 FROM harness_rows")
                return cursor.fetchone()[0]
        finally:
            connection.close()

    def _row(self):
        with self.lock:
            row = self.next_id
            self.next_id += 1
            return row

    def _run(self):
        self._write(self.dsn)

    def _write(self, dsn, refusals=()):
        """Row after row until the writer is stopped. After an error the session is a new one, but
        for these refusals."""
        connection = None
        while not self.stopping.is_set():
            row = self._row()
            try:
                if connection is None:
                    connection = self._connect(dsn)
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO harness_rows (id) VALUES (%s)", (row,))
                self.acked.append((now(), row))
            except refusals:
                pass
            except psycopg2.Error as error:
                self.errors.append((now(), row, str(error).strip()))
                if connection is not None:
                    connection.close()
                    connection = None
            time.sleep(self.pace)  # the pace of the load, not a wait for something
        if connection is not None:
            connection.close()

    def stop(self):
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join(15)
            assert not self.thread.is_alive(), "the writer does not end"

    def last(self):
        return self.acked[-1][0] if self.acked else 0.0

    def wait_writes(self, timeout, since=None):
        """Waits for an acknowledgement later than since (default: now), returns its time."""
        since = now() if since is None else since
        def first():
            return self.first_after(since)
        return wait_for(first, timeout, "an acknowledged write", interval=0.01)

    def first_after(self, since):
        at = None
        for acked, _ in reversed(self.acked):
            if acked <= since:
                break
            at = acked
        return at

    def outage(self, since, until=None):
        """(seconds, start, end) of the longest gap between acknowledgements that ends after since."""
        times = [at for at, _ in self.acked if until is None or at <= until]
        gaps = [(b - a, a, b) for a, b in zip(times, times[1:]) if b > since]
        return max(gaps) if gaps else (0.0, since, since)

    def missing(self, node):
        """Acknowledged ids that the node does not have."""
        acked = {row for _, row in list(self.acked)}  # before we look: the writer may go on
        return sorted(acked - {row[0] for row in node.sql("SELECT id FROM harness_rows")})

    def errors_since(self, since):
        return [error for error in self.errors if error[0] >= since]


class SessionWriter(Writer):
    """Keeps a session to every node and writes where writing is possible, so that what is measured
    is the time without a primary, and neither how a driver searches for it nor the load of that
    search. A standby refuses the row within its session, which costs it next to nothing."""

    def __init__(self, cluster, pace=0.004):
        super().__init__(cluster, pace=pace)
        standby = psycopg2.errors.ReadOnlySqlTransaction
        self.sessions = [threading.Thread(target=self._write, args=(self._dsn_of(node), standby), daemon=True)
                         for node in cluster.nodes]

    def _dsn_of(self, node):
        quiet = " -c log_min_messages=fatal"  # a refused row is no news to the log
        return dict(self.dsn, host=node.host, port=str(node.pg_port), target_session_attrs="any",
                    options=self.dsn["options"] + quiet)

    def _run(self):
        for session in self.sessions:
            session.start()
        for session in self.sessions:
            session.join()

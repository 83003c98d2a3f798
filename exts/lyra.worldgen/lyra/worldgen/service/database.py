"""What the service must not forget: users, uploads, worlds and jobs, in one SQLite file.

Every change is one transaction that is on the disk when the method returns, so that a server killed at any moment
comes back to what it had promised. A job ends once: whatever ends it asks that it has not ended.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .limits import Quota

TOKEN_PREFIX = "lw_"
ACTIVE = ("queued", "running")
ENDED = ("finished", "failed", "cancelled")
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, token_sha256 TEXT NOT NULL UNIQUE, admin INTEGER NOT NULL,
    quota TEXT NOT NULL, created REAL NOT NULL, served REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE, kind TEXT NOT NULL,
    name TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, facts TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS worlds (
    id TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE, name TEXT NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    world TEXT NOT NULL REFERENCES worlds(id) ON DELETE CASCADE, target TEXT, uploads TEXT NOT NULL,
    command TEXT NOT NULL, state TEXT NOT NULL, cancel INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    result TEXT, before TEXT, attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
    spent_s REAL NOT NULL DEFAULT 0, worker_pid INTEGER, worker_began TEXT, created REAL NOT NULL, ended REAL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs(state, number);
CREATE INDEX IF NOT EXISTS jobs_by_user ON jobs(user, number);
CREATE TABLE IF NOT EXISTS events (
    job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (job, seq)
);
"""


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody with a token."""

    id: str
    name: str
    admin: bool
    quota: Quota


Row = dict[str, Any]


class Database:
    """The service's memory; may be used from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30.0)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self._connection.execute(query, values)]

    def _row(self, query: str, values: tuple[Any, ...] = ()) -> Row | None:
        rows = self._rows(query, values)
        return rows[0] if rows else None

    # users

    def add_user(self, name: str, *, admin: bool = False, quota: Mapping[str, float] | None = None) -> str:
        """A new user's token, which is kept nowhere; raises `InputError` if the name is taken."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        values = (new_id(), name, _digest(token), int(admin), json.dumps(dict(quota or {})), time.time())
        try:
            with self._change() as db:
                db.execute(
                    "INSERT INTO users (id, name, token_sha256, admin, quota, created) VALUES (?,?,?,?,?,?)", values
                )
        except sqlite3.IntegrityError as error:
            raise InputError(
                f"there is a user '{name}' already; revoke the old token or choose another name"
            ) from error
        return token

    def renew_token(self, name: str) -> str:
        """Another token for a user, in place of the old one; raises `InputError` if there is no such user."""
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self._change() as db:
            if not db.execute("UPDATE users SET token_sha256=? WHERE name=?", (_digest(token), name)).rowcount:
                raise InputError(f"there is no user '{name}'; lyra-worldgen serve --list-users shows them")
        return token

    def users(self) -> list[Row]:
        """Everybody, without secrets."""
        return self._rows("SELECT id, name, admin, quota, created FROM users ORDER BY created")

    def user_of(self, token: str, default: Quota) -> User | None:
        """Whose token it is."""
        # The hash is looked up, not the token, so that the time it takes tells nothing about tokens.
        row = self._row("SELECT * FROM users WHERE token_sha256=?", (_digest(token),))
        if row is None:
            return None
        own = json.loads(row["quota"])
        quota = Quota(**{name: own.get(name, getattr(default, name)) for name in Quota.__dataclass_fields__})
        return User(id=row["id"], name=row["name"], admin=bool(row["admin"]), quota=quota)

    # uploads and worlds

    def add_upload(self, user: str, upload: Row) -> None:
        with self._change() as db:
            db.execute(
                "INSERT INTO uploads (id, user, kind, name, bytes, sha256, facts, created) VALUES (?,?,?,?,?,?,?,?)",
                (
                    upload["id"],
                    user,
                    upload["kind"],
                    upload["name"],
                    upload["bytes"],
                    upload["sha256"],
                    json.dumps(upload["facts"]),
                    time.time(),
                ),
            )

    def uploads(self, user: str) -> list[Row]:
        rows = self._rows("SELECT * FROM uploads WHERE user=? ORDER BY created, id", (user,))
        return [{**row, "facts": json.loads(row["facts"])} for row in rows]

    def upload(self, user: str, upload_id: str) -> Row | None:
        row = self._row("SELECT * FROM uploads WHERE user=? AND id=?", (user, upload_id))
        return None if row is None else {**row, "facts": json.loads(row["facts"])}

    def remove_upload(self, user: str, upload_id: str) -> bool:
        """False while a job that has not ended needs it."""
        with self._change() as db:
            needed = db.execute(
                "SELECT 1 FROM jobs WHERE user=? AND state IN ('queued','running') AND instr(uploads, ?)",
                (user, upload_id),
            ).fetchone()
            if needed:
                return False
            db.execute("DELETE FROM uploads WHERE user=? AND id=?", (user, upload_id))
        return True

    def worlds(self, user: str) -> list[Row]:
        return self._rows("SELECT * FROM worlds WHERE user=? ORDER BY created, id", (user,))

    def world(self, user: str, world_id: str) -> Row | None:
        return self._row("SELECT * FROM worlds WHERE user=? AND id=?", (user, world_id))

    def remove_world(self, user: str, world_id: str) -> bool:
        """Forget a world with its jobs; False while one of them has not ended."""
        with self._change() as db:
            busy = db.execute(
                "SELECT 1 FROM jobs WHERE (world=? OR target=?) AND state IN ('queued','running')", (world_id, world_id)
            ).fetchone()
            if busy:
                return False
            db.execute("DELETE FROM worlds WHERE user=? AND id=?", (user, world_id))
        return True

    def set_world_bytes(self, world_id: str, size: int) -> None:
        with self._change() as db:
            db.execute("UPDATE worlds SET bytes=? WHERE id=?", (size, world_id))

    def known_ids(self) -> tuple[set[str], set[str]]:
        """Ids of all uploads and of all worlds: what else lies in the folders was being written or removed."""
        uploads = {row["id"] for row in self._rows("SELECT id FROM uploads")}
        return uploads, {row["id"] for row in self._rows("SELECT id FROM worlds")}

    def usage(self, user: str) -> dict[str, int]:
        """How much of a quota is used."""
        row = self._row(
            "SELECT (SELECT count(*) FROM worlds WHERE user=:u) AS worlds,"
            " (SELECT coalesce(sum(bytes),0) FROM worlds WHERE user=:u)"
            " + (SELECT coalesce(sum(bytes),0) FROM uploads WHERE user=:u) AS storage_bytes,"
            " (SELECT count(*) FROM jobs WHERE user=:u AND state IN ('queued','running')) AS active_jobs",
            {"u": user},  # pyright: ignore[reportArgumentType]
        )
        assert row is not None, "an aggregate has one row"
        return {name: int(value) for name, value in row.items()}

    # jobs

    def add_job(
        self,
        user: User,
        command: Row,
        *,
        world: str,
        new_world: str | None = None,
        target: str | None = None,
        uploads: tuple[str, ...] = (),
        max_queued: int,
    ) -> str | None:
        """Promise a job, with the world that it makes; the job's id, or None if a quota is used up or the queue full.

        Args:
            user: who asks.
            command: what to do, in the service's words.
            world: the world that it writes to or reads.
            new_world: name of a world that comes to be with it: `target`, or else `world`.
            target: second world that it makes.
            uploads: what it needs.
            max_queued: of all users.
        """
        job = new_id()
        now = time.time()
        with self._change() as db:
            mine, everybody = (
                db.execute(f"SELECT count(*) FROM jobs WHERE state IN ('queued','running'){more}", values).fetchone()[0]
                for more, values in ((" AND user=?", (user.id,)), ("", ()))
            )
            count = db.execute("SELECT count(*) FROM worlds WHERE user=?", (user.id,)).fetchone()[0]
            if mine >= user.quota.queued_jobs or everybody >= max_queued:
                return None
            if new_world is not None:
                if count >= user.quota.worlds:
                    return None
                db.execute(
                    "INSERT INTO worlds (id, user, name, created) VALUES (?,?,?,?)",
                    (target or world, user.id, new_world, now),
                )
            db.execute(
                "INSERT INTO jobs (id, user, world, target, uploads, command, state, created)"
                " VALUES (?,?,?,?,?,?,'queued',?)",
                (job, user.id, world, target, " ".join(uploads), json.dumps(command), now),
            )
            _tell(db, job, "queued", "")
        return job

    def job(self, user: str, job_id: str) -> Row | None:
        row = self._row("SELECT * FROM jobs WHERE user=? AND id=?", (user, job_id))
        return None if row is None else _job(row)

    def jobs(self, user: str, world: str | None = None, limit: int = 100, before: int = 2**62) -> list[Row]:
        """The latest jobs of a user, newest first."""
        rows = self._rows(
            "SELECT * FROM jobs WHERE user=? AND (? IS NULL OR world=? OR target=?) AND number<?"
            " ORDER BY number DESC LIMIT ?",
            (user, world, world, world, before, limit),
        )
        return [_job(row) for row in rows]

    def claim(self, default: Quota) -> Row | None:
        """The next job to run, marked as running, with its `limit_s`.

        Users take turns; jobs of one world run one after another.
        """
        with self._change() as db:
            row = db.execute(
                "SELECT j.*, u.quota FROM jobs j JOIN users u ON u.id = j.user WHERE j.state='queued' AND NOT EXISTS ("
                "  SELECT 1 FROM jobs o WHERE o.number <> j.number AND"
                "  (o.world IN (j.world, j.target) OR o.target IN (j.world, j.target)) AND"
                "  (o.state='running' OR (o.state='queued' AND o.number < j.number)))"
                " ORDER BY u.served, j.number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute("UPDATE users SET served=? WHERE id=?", (time.time(), row["user"]))
            db.execute("UPDATE jobs SET state='running', attempts=attempts+1 WHERE id=?", (row["id"],))
            _tell(db, row["id"], "started", f"attempt {row['attempts'] + 1}")
            limit_s = json.loads(row["quota"]).get("job_s", default.job_s)
            return _job({**dict(row), "state": "running", "attempts": row["attempts"] + 1, "limit_s": limit_s})

    def set_before(self, job_id: str, token: str) -> None:
        """Remember what the world was before a job began; only the first attempt may say it."""
        with self._change() as db:
            db.execute("UPDATE jobs SET before=? WHERE id=? AND before IS NULL", (token, job_id))

    def set_worker(self, job_id: str, pid: int | None, began: str | None) -> None:
        """Which process works on a job, so that a server that comes back can end it."""
        with self._change() as db:
            db.execute("UPDATE jobs SET worker_pid=?, worker_began=? WHERE id=?", (pid, began, job_id))

    def put_back(self, job_id: str, why: str, *, spent_s: float = 0.0) -> None:
        """A job that was stopped waits again."""
        with self._change() as db:
            self._put_back(db, job_id, why, spent_s)

    def put_back_crashed(
        self, job_id: str, why: str, *, progressed: bool, max_crashes: int, spent_s: float = 0.0
    ) -> bool:
        """A job whose worker died waits again, unless it did so too often in a row without getting further.

        Returns:
            Whether it waits; otherwise it has failed.
        """
        with self._change() as db:
            row = db.execute("SELECT crashes FROM jobs WHERE id=? AND state='running'", (job_id,)).fetchone()
            if row is None:
                return False
            crashes = 1 if progressed else row["crashes"] + 1
            db.execute("UPDATE jobs SET crashes=? WHERE id=?", (crashes, job_id))
            if crashes < max_crashes:
                self._put_back(db, job_id, why, spent_s)
                return True
            return not self._end(db, job_id, "failed", f"{why}, {crashes} times in a row", None, spent_s)

    @staticmethod
    def _put_back(db: sqlite3.Connection, job_id: str, why: str, spent_s: float) -> None:
        query = "UPDATE jobs SET state='queued', worker_pid=NULL, spent_s=spent_s+? WHERE id=? AND state='running'"
        if db.execute(query, (spent_s, job_id)).rowcount:
            _tell(db, job_id, "interrupted", why)

    def running(self) -> list[Row]:
        """Jobs that a server left running."""
        return [_job(row) for row in self._rows("SELECT * FROM jobs WHERE state='running'")]

    def ask_to_cancel(self, user: str, job_id: str) -> None:
        """A waiting job ends now; a running one when its worker has stopped."""
        with self._change() as db:
            db.execute("UPDATE jobs SET cancel=1 WHERE user=? AND id=? AND state='running'", (user, job_id))
            waiting = db.execute(
                "UPDATE jobs SET state='cancelled', cancel=1, ended=?, message='cancelled before it began'"
                " WHERE user=? AND id=? AND state='queued'",
                (time.time(), user, job_id),
            ).rowcount
            if waiting:
                _tell(db, job_id, "cancelled", "cancelled before it began")

    def cancel_asked(self, job_id: str) -> bool:
        row = self._row("SELECT cancel FROM jobs WHERE id=?", (job_id,))
        return row is None or bool(row["cancel"])

    def note(self, job_id: str, kind: str, text: str) -> None:
        """Keep a milestone of a running job."""
        with self._change() as db:
            if db.execute("SELECT 1 FROM jobs WHERE id=? AND state='running'", (job_id,)).fetchone():
                _tell(db, job_id, kind, text)

    def end(self, job_id: str, state: str, message: str, result: Row | None, spent_s: float) -> bool:
        """End a running job; False if it has ended before or is gone."""
        with self._change() as db:
            return self._end(db, job_id, state, message, result, spent_s)

    @staticmethod
    def _end(db: sqlite3.Connection, job_id: str, state: str, message: str, result: Row | None, spent_s: float) -> bool:
        assert state in ENDED, state
        ended = db.execute(
            "UPDATE jobs SET state=?, message=?, result=?, ended=?, worker_pid=NULL, spent_s=spent_s+?"
            " WHERE id=? AND state='running'",
            (state, message, None if result is None else json.dumps(result), time.time(), spent_s, job_id),
        ).rowcount
        if ended:
            _tell(db, job_id, state, message)
        return bool(ended)

    def events(self, job_id: str, after: int = 0) -> list[Row]:
        """Milestones of a job in order."""
        return self._rows("SELECT seq, kind, text, at FROM events WHERE job=? AND seq>? ORDER BY seq", (job_id, after))

    def counts(self) -> dict[str, int]:
        """How many jobs are in which state."""
        return {row["state"]: row["n"] for row in self._rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")}


def new_id() -> str:
    """24 hexadecimal digits that nobody can guess."""
    return secrets.token_hex(12)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _tell(db: sqlite3.Connection, job: str, kind: str, text: str) -> None:
    db.execute(
        "INSERT INTO events (job, seq, kind, text, at)"
        " SELECT ?, coalesce(max(seq), 0) + 1, ?, ?, ? FROM events WHERE job=?",
        (job, kind, text, time.time(), job),
    )


def _job(row: Mapping[str, Any]) -> Row:
    job = dict(row)
    job["command"] = json.loads(job["command"])
    job["result"] = None if job["result"] is None else json.loads(job["result"])
    return job

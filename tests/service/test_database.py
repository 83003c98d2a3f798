"""The service's memory: turns, quotas, one end for each job, and nothing forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from lyra.worldgen.core.errors import InputError
from lyra.worldgen.service.database import Database, User
from lyra.worldgen.service.limits import Quota


@pytest.fixture
def database(tmp_path: Path):
    opened = Database(tmp_path / "service.sqlite3")
    yield opened
    opened.close()


def user(database: Database, name: str, **quota: float) -> User:
    token = database.add_user(name, quota=quota)
    found = database.user_of(token, Quota())
    assert found is not None and found.name == name
    return found


def job(database: Database, who: User, world: str, *, new: bool = True, max_queued: int = 100) -> str | None:
    name = "w" if new else None
    return database.add_job(who, {"command": "finish"}, world=world, new_world=name, max_queued=max_queued)


def test_tokens_are_kept_nowhere(database, tmp_path):
    """Only a hash is in the file; a renewed token replaces the old one; nothing else opens."""
    token = database.add_user("anna", quota={"worlds": 3})
    assert database.user_of(token, Quota()).quota == Quota(worlds=3)
    for wrong in ("", token[:-1], token + "x", token.upper(), "\udcff", "'; DROP TABLE users; --"):
        assert database.user_of(wrong, Quota()) is None
    other = database.renew_token("anna")
    assert database.user_of(token, Quota()) is None and database.user_of(other, Quota()).name == "anna"
    with pytest.raises(InputError, match="there is a user 'anna' already"):
        database.add_user("anna")
    with pytest.raises(InputError, match="there is no user 'bert'"):
        database.renew_token("bert")
    database.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in everything and other.encode() not in everything


def test_users_take_turns_and_worlds_are_worked_on_one_job_at_a_time(database):
    """A user with many jobs does not keep another one waiting; two jobs of a world never run together."""
    anna, bert = user(database, "anna"), user(database, "bert")
    first, second, third = job(database, anna, "a" * 24), job(database, anna, "b" * 24), job(database, anna, "c" * 24)
    after = job(database, anna, "a" * 24, new=False)
    other = job(database, bert, "d" * 24)
    claimed = [database.claim(Quota())["id"] for _ in range(4)]
    assert claimed == [first, other, second, third]
    assert database.claim(Quota()) is None
    assert database.end(first, "finished", "", {}, 1.0)
    assert database.claim(Quota())["id"] == after


def test_a_job_ends_once(database):
    """Whatever comes after the end changes nothing."""
    anna = user(database, "anna")
    number = job(database, anna, "a" * 24)
    assert not database.end(number, "finished", "", {}, 0.0)  # it does not run
    assert database.claim(Quota())["limit_s"] == Quota().job_s
    assert database.end(number, "finished", "", {"passed": True}, 2.0)
    assert not database.end(number, "failed", "late", None, 1.0)
    database.put_back(number, "late")
    assert not database.put_back_crashed(number, "late", progressed=False, max_crashes=3)
    database.ask_to_cancel(anna.id, number)
    database.note(number, "stage", "late")
    row = database.job(anna.id, number)
    assert (row["state"], row["spent_s"], row["result"]) == ("finished", 2.0, {"passed": True})
    assert [event["kind"] for event in database.events(number)] == ["queued", "started", "finished"]
    assert [event["kind"] for event in database.events(number, 2)] == ["finished"]


def test_a_worker_that_dies_is_begun_again_but_not_for_ever(database):
    """Getting further counts as a new beginning."""
    anna = user(database, "anna", job_s=60)
    number = job(database, anna, "a" * 24)
    waits = []
    for progressed in (False, False, True, False, False):
        assert database.claim(Quota())["limit_s"] == 60
        waits.append(database.put_back_crashed(number, "it died", progressed=progressed, max_crashes=3))
    assert waits == [True, True, True, True, False]
    row = database.job(anna.id, number)
    assert (row["state"], row["message"], row["attempts"]) == ("failed", "it died, 3 times in a row", 5)
    assert [e["kind"] for e in database.events(number)].count("failed") == 1


def test_quotas(database):
    """Worlds and waiting jobs of one user, and the queue of all."""
    anna, bert = user(database, "anna", worlds=2, queued_jobs=3), user(database, "bert")
    assert job(database, anna, "a" * 24) and job(database, anna, "b" * 24)
    assert job(database, anna, "c" * 24) is None and database.world(anna.id, "c" * 24) is None
    assert job(database, anna, "a" * 24, new=False)
    assert job(database, anna, "a" * 24, new=False) is None
    assert job(database, bert, "d" * 24, max_queued=3) is None
    assert job(database, bert, "d" * 24, max_queued=4)
    assert database.usage(anna.id) == {"worlds": 2, "storage_bytes": 0, "active_jobs": 3}


def test_one_user_sees_nothing_of_another(database):
    """Every question is asked for a user."""
    anna, bert = user(database, "anna"), user(database, "bert")
    number = job(database, anna, "a" * 24)
    upload = {"id": "e" * 24, "kind": "photo", "name": "n", "bytes": 5, "sha256": "", "facts": {}}
    database.add_upload(anna.id, upload)
    assert database.job(bert.id, number) is None and database.world(bert.id, "a" * 24) is None
    assert database.upload(bert.id, "e" * 24) is None
    assert not database.jobs(bert.id) and not database.worlds(bert.id) and not database.uploads(bert.id)
    database.ask_to_cancel(bert.id, number)
    assert database.job(anna.id, number)["state"] == "queued"
    database.remove_upload(bert.id, "e" * 24)
    assert database.upload(anna.id, "e" * 24) is not None


def test_what_is_needed_stays(database):
    """Uploads and worlds that a job needs cannot be removed under it."""
    anna = user(database, "anna")
    database.add_upload(anna.id, {"id": "e" * 24, "kind": "photo", "name": "", "bytes": 0, "sha256": "", "facts": {}})
    number = database.add_job(
        anna, {"command": "generate"}, world="a" * 24, new_world="w", uploads=("e" * 24,), max_queued=9
    )
    assert not database.remove_upload(anna.id, "e" * 24) and not database.remove_world(anna.id, "a" * 24)
    database.ask_to_cancel(anna.id, number)
    assert database.job(anna.id, number)["state"] == "cancelled"
    assert database.remove_upload(anna.id, "e" * 24) and database.remove_world(anna.id, "a" * 24)
    assert database.job(anna.id, number) is None and database.events(number) == []
    assert database.known_ids() == (set(), set())

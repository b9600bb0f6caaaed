"""The header that says whether anybody wrote, by connections of other processes."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from rcsops.database.wal_index import WalIndex

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    connection.execute(line)
    print("done", flush=True)
"""


def test_each_commit_of_another_process_is_seen_before_it_says_that_it_is_done(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    ours = sqlite3.connect(path, isolation_level=None)
    ours.execute("PRAGMA journal_mode = WAL")
    ours.execute("CREATE TABLE t (x)")
    index = WalIndex(path)
    index.open()
    seen = {index.header()}
    assert b"" not in seen
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None and writer.stdout is not None

        def run(statement: str) -> bytes:
            writer.stdin.write(statement + "\n")  # type: ignore[union-attr]
            writer.stdin.flush()  # type: ignore[union-attr]
            assert writer.stdout.readline() == "done\n"  # type: ignore[union-attr]
            return index.header()

        # Faster than a file's time moves, and beyond where the log begins anew without growing.
        for number in range(300):
            header = run(f"INSERT INTO t VALUES ({number})")
            assert header and header not in seen
            seen.add(header)
            if number % 50 == 49:
                ours.execute("PRAGMA wal_checkpoint(RESTART)")
        last = index.header()
        # Who only reads changes nothing, nor does who changes his mind.
        assert run("SELECT * FROM t") == run("BEGIN") == run("ROLLBACK") == last
        writer.stdin.close()
    ours.close()
    index.close()
    assert index.header() == b""


def test_without_an_index_nothing_is_known(tmp_path: Path) -> None:
    index = WalIndex(tmp_path / "a.db")
    index.open()
    assert index.header() == b""
    # As in the midst of a write.
    (tmp_path / "a.db-shm").write_bytes(bytes(47) + b"1" + bytes(48))
    index.open()
    assert index.header() == b""
    index.close()

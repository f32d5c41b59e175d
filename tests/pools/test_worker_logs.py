"""The end of a runner's log: what is read of it."""

from pathlib import Path

from raytasks.pools.worker_logs import MAX_LINES, last_lines

WORKER = "ab" * 28


def test_the_last_lines_without_rays_marks(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(30)]
    text = "\n".join([":job_id:01000000", *lines[:20], "", ":actor_name:runner", *lines[20:]])
    (tmp_path / f"worker-{WORKER}-01000000-4711.err").write_text(text + "\n")
    (tmp_path / f"worker-{'cd' * 28}-01000000-4712.err").write_text("another\n")
    assert last_lines(tmp_path, WORKER) == tuple(lines[-MAX_LINES:])


def test_a_large_log_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / f"worker-{WORKER}-1.err"
    file.write_bytes(b"\xff" * 1_000_000 + b"\nthe end\n")
    assert last_lines(tmp_path, WORKER)[-1] == "the end"


def test_none_is_there(tmp_path: Path) -> None:
    assert last_lines(tmp_path, WORKER) == ()

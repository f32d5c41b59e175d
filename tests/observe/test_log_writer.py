"""The log on its way out: standard error, the file, its rotation, and what goes wrong."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.observe.acts_log import log_act
from raytasks.observe.log_file import LogFile
from raytasks.observe.log_format import text_line
from raytasks.observe.log_record import with_fields
from raytasks.observe.log_setup import LogOptions, TrackerLog
from raytasks.observe.log_stream import LogStream
from raytasks.observe.log_writer import MAX_WAITING, LogWriter
from raytasks.protocol.service_log import ServiceLine


class TestFile:
    def test_it_is_rotated_by_size_and_a_number_of_files_is_kept(self, tmp_path: Path) -> None:
        file = LogFile(tmp_path / "new" / "log", 10, kept=2)
        for letter in "abcd":
            file.write(letter * 8 + "\n")
        found = {path.name: path.read_text()[0] for path in (tmp_path / "new").iterdir()}
        assert found == {"log": "d", "log.1": "c", "log.2": "b"}

    def test_one_that_was_moved_away_is_made_again(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        file = LogFile(path, 1000)
        file.write("first\n")
        path.rename(tmp_path / "moved")
        file.write("second\n")
        assert (path.read_text(), (tmp_path / "moved").read_text()) == ("second\n", "first\n")

    def test_it_goes_on_where_an_earlier_process_stopped(self, tmp_path: Path) -> None:
        for text in ("first\n", "second\n"):
            file = LogFile(tmp_path / "log", 1000)
            file.write(text)
            file.close()
        assert (tmp_path / "log").read_text() == "first\nsecond\n"

    def test_a_failure_is_told_and_tried_again_later(self, tmp_path: Path) -> None:
        now = 0.0
        file = LogFile(tmp_path, 1000, monotonic=lambda: now)
        file.write("lost\n")
        assert file.trouble is not None
        assert "Is a directory" in file.trouble
        file.path = tmp_path / "log"
        file.write("lost, too\n")
        now = 10.0
        file.write("there\n")
        assert (tmp_path / "log").read_text() == "there\n"
        assert not file.trouble


def test_a_flood_is_bounded_and_its_losses_are_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    writer = LogWriter(text_line, None)
    with writer._writing:  # as if the disk were slow
        for number in range(MAX_WAITING + 7):
            writer(ServiceLine(number, 0.0, "INFO", "x"))
    writer.close()
    written = capsys.readouterr().err.splitlines()
    assert len(written) == MAX_WAITING + 1
    assert "7 lines of the log were dropped" in written[-1]


class TestTrackerLog:
    @pytest.fixture
    def stream(self) -> LogStream:
        return LogStream()

    @pytest.fixture
    def log(self, stream: LogStream, tmp_path: Path) -> Iterator[TrackerLog]:
        log = TrackerLog(stream, LogOptions(file=str(tmp_path / "log")))
        yield log
        log.close()
        assert logging.getLogger("raytasks").propagate

    def test_lines_of_all_our_loggers_go_to_stream_file_and_standard_error(
        self, log: TrackerLog, stream: LogStream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        logging.getLogger("raytasks.some.module").info("one", extra=with_fields(pool="p"))
        stream.write("WARNING", "two")
        logging.getLogger("raytasks").debug("not wanted")
        log.flush()
        written = (tmp_path / "log").read_text()
        assert [row.split(" ", 1)[1] for row in written.splitlines()] == [
            "INFO    one pool=p", "WARNING two"
        ]  # fmt: skip
        assert capsys.readouterr().err == written
        assert [line.message for line in stream.newest(9).lines] == ["one", "two"]

    def test_other_options_hold_at_once(
        self, log: TrackerLog, stream: LogStream, tmp_path: Path
    ) -> None:
        stream.write("INFO", "as text")
        log.change(LogOptions("DEBUG", "json", str(tmp_path / "other")))
        logging.getLogger("raytasks").debug("as JSON")
        log.flush()
        assert "as text" in (tmp_path / "log").read_text()
        assert '"message":"as JSON"' in (tmp_path / "other").read_text()

    def test_the_end_of_the_process_writes_what_waits(
        self, log: TrackerLog, stream: LogStream, tmp_path: Path
    ) -> None:
        stream.write("INFO", "last words")
        for handler in logging.getLogger("raytasks").handlers:
            handler.flush()  # as `logging.shutdown` does
        assert "last words" in (tmp_path / "log").read_text()
        log.flush()

    def test_acts_of_persons(self, log: TrackerLog, stream: LogStream) -> None:
        log_act("ops", "cancel", "default", "t1", {"reason": "wrong", "bulk_id": None})
        [line] = stream.newest(1).lines
        assert line.message == "cancel of t1 by ops"
        assert line.fields == {
            "by": "ops", "action": "cancel", "namespace": "default", "target": "t1",
            "reason": "wrong",
        }  # fmt: skip
        log.flush()

    def test_a_file_that_cannot_be_written_is_told_of_once(
        self, stream: LogStream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = TrackerLog(stream, LogOptions(file=str(tmp_path)))
        for _ in range(2):
            stream.write("INFO", "a line")
            log.flush()
        log.close()
        told = capsys.readouterr().err
        assert told.count("a line") == 2
        assert told.count("LOG_FILE: ") == 1

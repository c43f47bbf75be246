"""How far long work is, in words."""

from __future__ import annotations

import io
import logging
import os

import pytest

from covidpipe import progress
from covidpipe.stages.cohort import Pulse
from covidpipe.words import per


def ticking(*seconds):
    left = iter(seconds)
    return lambda: next(left)


def test_rate_and_remaining_time_are_told_once_something_is_done():
    rate = progress.Rate(1000, "files", clock=ticking(100.0, 100.0, 110.0, 200.0))
    assert rate.told(0) == "0 of 1,000 files"
    assert rate.told(20) == "20 of 1,000 files, 2.0 a second, about 8 min left"
    assert rate.told(1000) == "1,000 of 1,000 files, 10.0 a second"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_line_and_elsewhere_lines_are_rare(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    seconds = iter(range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))
    screen, file = Terminal(), io.StringIO()
    assert list(progress.track("abcde", 5, "letters", screen, title="word 1/2")) == list("abcde")
    assert "\n" not in screen.getvalue() and screen.getvalue().endswith(progress.CLEAR)
    assert "word 1/2: 1 of 5 letters, " in screen.getvalue() and not caplog.messages
    assert len(list(progress.track(range(100), 100, "images", file))) == 100
    assert not file.getvalue() and len(caplog.messages) == 3
    assert all(progress.TOLD.search(line) for line in caplog.messages)


def test_work_that_is_given_up_leaves_no_half_line():
    screen = Terminal()
    work = progress.track("ab", 2, "letters", screen)
    next(work)
    work.close()
    assert screen.getvalue() == progress.CLEAR


def test_a_run_tells_its_jobs_and_the_images_of_the_newest(tmp_path):
    pulse = Pulse(tmp_path)
    assert pulse.line() == ""
    (tmp_path / "predict").mkdir()
    old, new = tmp_path / "predict" / "0.log", tmp_path / "predict" / "1.log"
    old.write_text("10:00:00 9 of 512 images, 1.0 a second, about 8 min left\n")
    os.utime(old, (1, 1))  # of an earlier run
    assert pulse.line() == ""
    new.write_text("10:00:30 96 of 512 images, 1.6 a second, about 4 min left\n10:01:00 2 words\n")
    assert pulse.line() == "96 of 512 images, 1.6 a second, about 4 min left"
    new.write_text("10:00:30 512 of 512 images, 1.6 a second\n")
    pulse.jobs(1, 4)
    assert pulse.line() == ""  # nothing tells yet how long the rest takes
    pulse.jobs(3, 9)  # the shards are known now: what was done before tells nothing of their rate
    pulse.jobs(5, 9)
    assert pulse.line().startswith("5 of 9 jobs, ") and pulse.line().endswith(" left")


@pytest.mark.parametrize(("rate", "told"), [(1, "1.0 a second"), (0.5, "30.0 a minute"), (1 / 120, "30.0 an hour")])
def test_a_rate_is_told_in_a_unit_that_one_can_imagine(rate, told):
    assert per(rate) == told

"""A training that is killed at any moment, or told to stop, ends as if nothing had happened."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow
from tensorflow.core.util import event_pb2
from tiny_study import SIZE, Study, squares

from covidpipe import cli
from covidpipe.config import Recipe, Schedule
from covidpipe.errors import Preempted
from covidpipe.io.files import read_frame, read_json
from covidpipe.io.resume import Checkpoint, Checkpoints
from covidpipe.provenance import cores_in_words, prepare_backend
from covidpipe.schemas import HISTORY
from covidpipe.training import fit as fit_module
from covidpipe.training.fit import Fitted, fit
from covidpipe.training.labelled import Labelled
from covidpipe.training.stopping import StopRequests

RECIPE = Recipe(task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=SIZE)
SCHEDULE = Schedule(epochs=5, batch_size=4, learning_rate=0.02, optimizer="adam", decay="cosine")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def parts() -> tuple[Labelled, Labelled]:
    images, masks = squares()
    groups = np.array([f"p{i}" for i in range(len(images))])
    return tuple(
        Labelled(images[p], masks[p], groups[p], masks[p].any(axis=(1, 2)), float(masks[p].mean()), "")
        for p in (slice(0, 16), slice(16, 24))
    )


def train(checkpoints: Checkpoints | None = None, **given) -> tuple[keras.Model, Fitted]:
    """A network with all that has a state of its own: batch normalization, dropout, Adam, a decaying rate."""
    prepare_backend(5)
    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax", name="head")(x), name="tiny")
    return model, fit(model, RECIPE, SCHEDULE, *parts(), 5, None, checkpoints=checkpoints, **given)


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_killed_at_eight_moments_it_ends_with_the_same_history_and_weights(tmp_path, monkeypatch):
    model, fitted = train()
    moments = random.Random(1)
    # In a batch, in the validation, and while a checkpoint is written but has not its name yet.
    places = [(fit_module._Step, "train", 7), (fit_module, "judge", 2), (np, "savez", 2)]
    killed, finished = 0, []
    while True:
        with monkeypatch.context() as patch:
            owner, name, most = places[killed % 3]
            if killed < 8:
                left, whole = moments.randrange(most), getattr(owner, name)

                def bomb(*args, whole=whole, **kwargs):
                    nonlocal left
                    if left == 0:
                        raise Killed
                    left -= 1
                    return whole(*args, **kwargs)

                patch.setattr(owner, name, bomb)
            try:
                resumed, again = train(Checkpoints(tmp_path, "key"))
                break
            except Killed:
                killed += 1
                found = Checkpoints(tmp_path, "key").load()
                finished.append(found.facts["epochs"] if found else 0)
    assert killed >= 6 and finished == sorted(finished) and 0 < finished[-1] <= SCHEDULE.epochs
    assert again.history == fitted.history and len(again.history) == SCHEDULE.epochs * 2
    assert (again.threshold, again.best_epoch, again.best_score) == (
        fitted.threshold,
        fitted.best_epoch,
        fitted.best_score,
    )
    assert same_weights(model, resumed)
    assert again.facts["resumed_after_epochs"] == finished[-1] and fitted.facts["resumed_after_epochs"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_after_the_batch_and_what_is_finished_is_kept(number, tmp_path, monkeypatch):
    steps = []
    whole = fit_module._Step.train

    def signalled(self, batch):
        if len(steps) == 6:
            os.kill(os.getpid(), number)
        whole(self, batch)
        steps.append(None)

    monkeypatch.setattr(fit_module._Step, "train", signalled)
    before = signal.getsignal(number)
    with StopRequests() as stop, pytest.raises(Preempted, match=rf"stopped by {number.name}\. Every finished epoch"):
        train(Checkpoints(tmp_path, "key"), stop=stop)
    assert len(steps) == 7 and signal.getsignal(number) is before
    assert Checkpoints(tmp_path, "key").load().facts["epochs"] == 1
    assert Preempted.exit_code == 75


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    arrays = {"model": [np.arange(3, dtype=np.float32), np.array(7, np.int64)], "best": []}
    facts = {"epochs": 2, "history": [{"value": 0.1 + 0.2}], "best": {"score": -0.5}}
    Checkpoints(tmp_path, "key").save(Checkpoint(arrays, facts))
    found = Checkpoints(tmp_path, "key").load()
    assert found.facts == facts
    assert [(a.dtype, a.tolist()) for a in found.arrays["model"]] == [(a.dtype, a.tolist()) for a in arrays["model"]]


def test_a_checkpoint_of_another_key_is_set_aside_and_serves_again_when_its_key_is_back(tmp_path, caplog):
    Checkpoints(tmp_path, "old").save(Checkpoint({"model": []}, {"epochs": 4}))
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(tmp_path, "new").load() is None
    assert "old.npz was left by another config, data or code: it is set aside" in caplog.text
    assert Checkpoints(tmp_path, "old").load().facts == {"epochs": 4}


def test_a_damaged_checkpoint_is_told_and_what_was_half_written_is_removed(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(Checkpoint({"model": [np.zeros(1000)]}, {"epochs": 4}))
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:900])
    (tmp_path / ".key.npz.12-ab.partial").write_bytes(b"half")
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(tmp_path, "key").load() is None
    assert "key.npz is damaged" in caplog.text and len(list(tmp_path.iterdir())) == 1


def test_sigkill_leaves_no_trace(tmp_path):
    """Two processes, killed at moments of their own; this one then goes on with what each left."""
    model, fitted = train()
    folders = [tmp_path / "a", tmp_path / "b"]
    running = [subprocess.Popen([sys.executable, __file__, str(folder)], stderr=subprocess.PIPE) for folder in folders]
    moments = random.Random(2)
    for process, folder in zip(running, folders, strict=True):
        while not list(folder.glob("*.npz")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.5)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
    for folder in folders:
        resumed, again = train(Checkpoints(folder, "key"))
        assert 1 <= again.facts["resumed_after_epochs"] < SCHEDULE.epochs
        assert again.history == fitted.history and same_weights(model, resumed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> SimpleNamespace:
    """A study's network, by the command: stopped by a signal in its second epoch, and run again."""
    study = Study(
        tmp_path_factory.mktemp("study"),
        recipe={"model": "cov_raseg", "width": 0.05},
        schedule={"epochs": 3, "loss": "cross_entropy_dice"},
        tensorboard=True,
    )
    out = study.folder / "results" / "models" / "square"
    with pytest.MonkeyPatch.context() as patch, Logged() as first:
        whole, steps = fit_module._Step.train, []

        def signalled(self, batch):
            steps.append(None)
            if len(steps) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            whole(self, batch)

        patch.setattr(fit_module._Step, "train", signalled)
        status = cli.main(study.command("square", out))
    between = SimpleNamespace(status=status, out=out.exists(), left=sorted(p.suffix for p in unfinished(out).iterdir()))
    with Logged() as second:
        assert cli.main(study.command("square", out)) == 0
    return SimpleNamespace(study=study, out=out, between=between, first=first.text, second=second.text)


class Logged(logging.Handler):
    """What covidpipe logs inside."""

    def __init__(self):
        super().__init__()
        self.logger, self.text = logging.getLogger("covidpipe"), ""

    def emit(self, record):
        self.text += record.getMessage() + "\n"

    def __enter__(self):
        self.logger.addHandler(self)
        self.logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_):
        self.logger.removeHandler(self)
        self.logger.setLevel(logging.NOTSET)


def unfinished(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


def test_the_command_stops_with_75_and_goes_on_when_it_is_run_again(trained):
    assert trained.between.status == 75 and not trained.between.out
    assert trained.between.left == ["", ".npz"]  # TensorBoard's folder, and the checkpoint
    assert "going on after epoch 1 of 3" in trained.second and "going on" not in trained.first
    assert not unfinished(trained.out).exists()
    history = read_frame(trained.out / "history.parquet", HISTORY)
    assert history["epoch"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_log_has_one_line_an_epoch_with_rate_and_remaining_time(trained):
    lines = [line for line in trained.second.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for line in lines:
        assert re.search(r"epoch [23]/3: loss \d.*, validation score \d.*, \d+ images/s, .* left$", line)


def test_its_record_tells_what_decided_and_how_it_went(trained):
    record = read_json(trained.out / "run.json")
    facts = record["training"]
    assert facts["resumed_after_epochs"] == 1 and facts["images_per_second"] > 0 and facts["seconds"] > 0
    assert 0 <= facts["input_wait_share"] < 1 and facts["peak_memory_mib"] > 100
    assert record["device"] == cores_in_words() and record["wall_seconds"] > 0
    assert len(record["data_sha256"]) == len(record["fingerprint"]) == 64
    assert record["schedule"]["epochs"] == 3 and record["recipe"]["name"] == "square" and record["seed"] == 20201122
    assert record["parent"] is None and {"keras", "numpy"} <= set(record["packages"])


def test_tensorboard_shows_the_history_once_though_the_training_was_interrupted(trained):
    (file,) = (trained.out / "tensorboard").iterdir()
    records = [event_pb2.Event.FromString(r.numpy()) for r in tensorflow.data.TFRecordDataset(str(file))]
    assert records[0].file_version == "brain.Event:2"
    shown = {(e.step, v.tag): v.simple_value for e in records[1:] for v in e.summary.value}
    history = read_frame(trained.out / "history.parquet", HISTORY).to_dict("records")
    assert len(records) == 1 + len(history)
    assert shown == {(r["epoch"], f"{r['part']}/{r['measure']}"): pytest.approx(r["value"]) for r in history}


def slowly(step, batch) -> None:
    """A batch that takes a while, for the killer to find it at work; the last epoch's never ends before he comes."""
    whole_step(step, batch)
    steps.append(None)
    time.sleep(0.1 if len(steps) <= 4 * (SCHEDULE.epochs - 1) else 600)


if __name__ == "__main__":  # what is killed
    whole_step, steps = fit_module._Step.train, []
    fit_module._Step.train = slowly
    train(Checkpoints(sys.argv[1], "key"))

"""The Process Run Crate beside a cohort's tables: what both specifications demand, written from their text.

RO-Crate 1.1 (w3id.org/ro/crate/1.1) and Process Run Crate 0.5 (w3id.org/ro/wfrun/process/0.5). The public validator
asks the network for the JSON-LD contexts at every run, so it cannot be part of these tests; it found the same.
"""

from __future__ import annotations

import json
import re
import socket
from datetime import date, datetime
from pathlib import Path

import pytest
import tiny_cohort as tiny
from test_collect import write_shards

from covidpipe.io.files import file_sha256, read_json, read_table
from covidpipe.io.hive import infection_in
from covidpipe.provenance import PACKAGE
from covidpipe.schemas import INFECTION
from covidpipe.stages import collect

SHIPPED = read_json(PACKAGE / "weights" / "ct_lungs" / "run.json")
LUNGS = f"{SHIPPED['recipe']['model']}@{SHIPPED['weights_sha256'][:12]}"


@pytest.fixture(params=[100, 3], ids=["one file", "a folder"])
def crate(request, tmp_path) -> Path:
    """A cohort's folder, whose rows name a network that is at hand and one that is not."""

    def by_networks(row):
        return row | {"lung_model_id": LUNGS, "infection_model_id": "cov_raseg@000000000000"}

    images = tiny.write_images(tmp_path)
    shards = write_shards(tmp_path, images, 2, by_networks)
    collect.run(tiny.config(tmp_path, file_rows=request.param), "c", images, shards, tmp_path / "out")
    return tmp_path / "out"


def graph_of(crate: Path) -> dict[str, dict]:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph), "an identifier stands for one entity"
    return entities


def references(value) -> list[str]:
    """Identifiers that a property points to."""
    many = value if isinstance(value, list) else [value]
    return [one["@id"] for one in many if isinstance(one, dict)]


def test_it_is_an_ro_crate(crate):
    entities = graph_of(crate)
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork" and references(descriptor["about"]) == ["./"]
    assert references(descriptor["conformsTo"]) == ["https://w3id.org/ro/crate/1.1"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"]
    assert date.fromisoformat(root["datePublished"])
    assert entities[references(root["license"])[0]]["@type"] == "CreativeWork"
    for entity in entities.values():
        assert entity["@type"] and (entity.get("name") or entity is descriptor)
        for name, value in entity.items():
            told = references(value)
            assert all(target in entities for target in told) or name == "conformsTo", f"{name}: {told}"
            assert not (isinstance(value, list) and len(value) < 2), "a list of one is written as that one"


def test_every_file_is_part_of_it_and_is_as_it_says(crate):
    entities = graph_of(crate)
    reached, todo = set(), ["./"]
    while todo:
        for part in references(entities[todo.pop()].get("hasPart", [])):
            reached.add(part)
            todo.append(part)
    data = {name for name, entity in entities.items() if entity["@type"] in ("File", "Dataset") and name != "./"}
    assert reached == data
    files = {name for name in data if entities[name]["@type"] == "File"}
    for name in files:
        entity = entities[name]
        assert entity["sha256"] == file_sha256(crate / name)
        assert entity["contentSize"] == str((crate / name).stat().st_size)
        assert entity["encodingFormat"]
    there = {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert there - files == {"ro-crate-metadata.json", "run.json"}, "run.json names folders of the machine"


def test_it_is_a_process_run_crate(crate):
    entities = graph_of(crate)
    (profile,) = references(entities["./"]["conformsTo"])
    assert re.fullmatch(r"https://w3id\.org/ro/wfrun/process/\d+(\.\d+)+", profile)
    assert entities[profile]["@type"] == "CreativeWork"
    (action,) = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert action["@id"] in references(entities["./"]["mentions"])
    (instrument,) = references(action["instrument"])
    application = entities[instrument]
    assert application["@type"] == "SoftwareApplication"
    assert application["name"] and application["softwareVersion"] and "version" not in application
    assert action["name"] and action["description"]
    assert datetime.fromisoformat(action["endTime"]).tzinfo is not None
    assert entities[references(action["agent"])[0]]["@type"] == "Organization"
    allowed = {"File", "Dataset", "Collection", "CreativeWork", "PropertyValue"}
    for name in ("object", "result"):
        assert {entities[target]["@type"] for target in references(action[name])} <= allowed
    assert {entities[target]["@type"] for target in references(action["environment"])} == {"PropertyValue"}
    assert set(references(action["result"])) == set(references(entities["./"]["hasPart"]))


def test_it_names_the_networks_by_the_hash_of_all_their_weights(crate):
    entities = graph_of(crate)
    known, other = entities[f"#lung_model_id-{LUNGS}"], entities["#infection_model_id-cov_raseg@000000000000"]
    assert known["sha256"] == SHIPPED["weights_sha256"]
    assert f'"dataset": "{SHIPPED["recipe"]["dataset"]}"' in known["description"]
    assert "sha256" not in other, "its folder is not at hand"
    settings = {e["name"]: json.loads(e["value"]) for e in entities.values() if e["@id"].startswith("#setting-")}
    assert settings["methods"] == ["alom2020", "khan2020"] and {"threshold", "harmonize", "segment"} <= set(settings)


def test_it_names_neither_machine_nor_patient(crate):
    text = (crate / "ro-crate-metadata.json").read_text(encoding="utf-8")
    table = read_table(infection_in(crate), INFECTION)
    ids = {value for name in ("patient_id", "study_id", "image_id") for value in table[name].to_pylist() if value}
    # `study` is the id of a study here, and a word of the crate
    for word in {str(crate.parent), str(Path.home()), socket.gethostname(), *ids} - {"study", "/"}:
        assert word not in text, word


def test_the_same_tables_give_the_same_crate_but_for_the_time(tmp_path):
    images = tiny.write_images(tmp_path)
    texts = []
    for cut in (1, 4):
        shards = write_shards(tmp_path / str(cut), images, cut)
        collect.run(tiny.config(tmp_path), "c", images, shards, tmp_path / f"out{cut}")
        text = (tmp_path / f"out{cut}" / "ro-crate-metadata.json").read_text()
        texts.append(re.sub(r'"(endTime|datePublished)": "[^"]+"', r'"\1": ""', text))
    assert texts[0] == texts[1]

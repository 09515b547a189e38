from __future__ import annotations

import pytest

from exporters.publish import DensePublisher
from exporters.registry import Registry
from exporters.runtime import ModelHost
from streamer.errors import HeadwaterError
from streamer.families import FAMILIES, check_family, make_ranker
from streamer.settings import Settings
from streamer.student import Student


def of_family(settings: Settings, family: str, name: str = "student") -> Settings:
    learning = settings.learning.model_copy(update={"family": family, "name": name})
    return settings.model_copy(update={"learning": learning})


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HeadwaterError, match="'transformer'; the families are session, caser"):
        check_family("transformer")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_served_alike(family: str, small_settings: Settings) -> None:
    graphs = make_ranker(of_family(small_settings, family), 3).graphs()
    other = make_ranker(of_family(small_settings, "session"), 3).graphs()
    assert graphs.keys() == other.keys()
    for name, graph in graphs.items():
        shapes = {key: value.shape for key, value in graph.inputs.items()}
        assert shapes == {key: value.shape for key, value in other[name].inputs.items()}
        assert graph.dynamic == other[name].dynamic
        read = {"encode": 1}.get(name, 2)  # what a family tells besides is its own
        assert graph.outputs[:read] == other[name].outputs[:read], "what the server reads of it"


def test_a_caser_student_learns_is_published_and_serves(small_settings: Settings, walk, tmp_path) -> None:
    student = Student(of_family(small_settings, "caser", "caser"))
    for start in range(0, 48, 16):
        student.learn(walk(16, start))
    assert {row.model for row in student.take_rows()} == {"caser"}
    registry = Registry(tmp_path / "models")
    publisher = DensePublisher(registry, name="caser")
    version = publisher.publish(
        graphs=student.network.ranker.graphs(),
        tables=student.tables(),
        item_ids=student.item_ids(),
        meta=student.meta(),
        metrics={},
        offsets={},
        step=student.learned,
        checks=student.recent(),
    )
    assert max(version.parity.values()) < 1e-4 and version.meta["family"] == "caser"
    host = ModelHost(registry=registry, name="caser")
    assert host.start().swapped and set(host.current.sessions) == {"rank", "encode", "score"}


def test_a_caser_student_resumes_bit_for_bit(small_settings: Settings, walk) -> None:
    settings = of_family(small_settings, "caser", "caser")
    straight, again = Student(settings), Student(settings)
    straight.learn(walk(16))
    again.load_state_dict(straight.state_dict())
    for student in (straight, again):
        student.learn(walk(16, 16))
    for name, value in straight.network.ranker.state_dict().items():
        assert (again.network.ranker.state_dict()[name] == value).all(), name

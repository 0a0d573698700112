"""Where a voice's graph can be cut."""

from __future__ import annotations

import pytest

from engines.anatomy import Places, constant_fills, find_necks, find_places, find_reach, find_stages, once
from engines.graph import Graph, Unsplittable
from tests.engines.tiny_vits import renamed, tiny_vits


@pytest.mark.parametrize("speakers", [1, 3])
def test_the_places_lie_behind_each_other(speakers: int) -> None:
    graph = Graph(tiny_vits(speakers))
    places = find_places(graph)
    front, back = graph.before([places.noisy]), graph.after([places.noisy])
    assert {graph.maker[name] for name in (places.durations, places.means, places.deviations)} <= front
    assert graph.maker[places.sound] in back
    assert not front & back
    assert bool(places.conditions) == (speakers > 1)


def test_they_are_found_by_structure_not_by_name() -> None:
    plain, other = find_places(Graph(tiny_vits(3))), find_places(Graph(renamed(tiny_vits(3), 1)))
    assert (len(plain.masks), len(plain.conditions)) == (len(other.masks), len(other.conditions))
    assert plain.noisy != other.noisy


def given_to(graph: Graph, places: Places) -> list[str]:
    """Tensors that need not be computed in a window."""
    return [*places.masks, *constant_fills(graph, graph.after([places.noisy]) & graph.before([places.sound]))]


def test_stages_reach_from_the_noise_to_the_sound() -> None:
    graph = Graph(tiny_vits())
    places = find_places(graph)
    given = given_to(graph, places)
    cuts, stages = find_stages(graph, places, given)
    assert len(cuts) == len(stages) >= 3
    assert (cuts[0][0], cuts[-1][1]) == (places.noisy, places.sound)
    assert [end for _, end in cuts[:-1]] == [start for start, _ in cuts[1:]]
    assert set(end for _, end in cuts[:-1]) <= set(find_necks(graph, places.noisy, places.sound, given))
    reach, hop = find_reach(graph, places.noisy, places.sound, given)
    assert hop == 8
    assert reach <= sum(stage.reach for stage in stages)


def test_what_mixes_times_cannot_be_cut() -> None:
    graph = Graph(tiny_vits(mixes_times=True))
    places = find_places(graph)
    with pytest.raises(Unsplittable, match="may mix times"):
        find_stages(graph, places, given_to(graph, places))


def test_each_name_once_in_order() -> None:
    assert once(["b", "a", "b"]) == ("b", "a")

from hypothesis import given
from hypothesis import strategies as st

from pipeline.shelf import Place, Shelf

KEYS = [bytes([number]) for number in range(8)]
MOST, ENTRIES, TTL = 100, 5, 50.0


class Naive:
    """The same by looking through all of it each time."""

    def __init__(self):
        self.places = []  # key, size, stored; the one used least recently first

    def live(self, now):
        return [place for place in self.places if now - TTL < place[2]]

    def put(self, key, size, now):
        self.places = [place for place in self.live(now) if place[0] != key]
        if size <= MOST:
            self.places.append((key, size, now))
            while sum(place[1] for place in self.places) > MOST or len(self.places) > ENTRIES:
                self.places.pop(0)

    def use(self, key, now):
        found = next((place for place in self.live(now) if place[0] == key), None)
        if found is not None:
            self.places.remove(found)
            self.places.append(found)
        return found is not None

    def drop(self, key, now):
        self.places = [place for place in self.places if place[0] != key]


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "use", "drop"]), st.sampled_from(KEYS), st.integers(0, 120), st.floats(0, 20)), max_size=60
)


@given(STEPS)
def test_it_keeps_what_was_used_lately_within_its_bounds(steps):
    shelf, naive, held, now = Shelf(most_bytes=MOST, most_entries=ENTRIES, ttl=TTL), Naive(), set(), 0.0
    for what, key, size, later in steps:
        now += later
        if what == "put":
            held.add(key)
            held -= set(shelf.put(key, size, now))
            naive.put(key, size, now)
        elif what == "use":
            assert shelf.use(key, now) == naive.use(key, now)
        else:
            shelf.drop(key)
            held.discard(key)
            naive.drop(key, now)
        held -= set(shelf.expire(now))
        assert held == {place[0] for place in naive.live(now)}, "whoever has the things has just these"
        assert shelf.size == sum(place[1] for place in naive.live(now)) <= MOST and len(shelf) == len(held) <= ENTRIES


@given(STEPS)
def test_a_later_life_goes_on_where_an_earlier_one_ended(steps):
    first, places, now = Shelf(most_bytes=MOST, most_entries=ENTRIES, ttl=TTL), {}, 0.0
    for what, key, size, later in steps:
        now += later
        if what == "put":
            places[key] = Place(key, size, now, now)
            for gone in first.put(key, size, now):
                places.pop(gone, None)
        elif what == "use" and first.use(key, now):
            places[key] = Place(key, places[key].size, places[key].stored, now)
    second = Shelf(most_bytes=MOST, most_entries=ENTRIES, ttl=TTL)
    gone = second.restore(places.values(), now)
    assert set(gone) == set(first.expire(now))
    for index in range(ENTRIES):
        other = bytes([100 + index])
        assert set(first.put(other, 30, now + index)) == set(second.put(other, 30, now + index)), "the same make room"


def test_what_is_kept_in_a_smaller_place_or_comes_from_the_future_goes():
    shelf = Shelf(most_bytes=10, most_entries=2, ttl=TTL)
    places = [Place(b"a", 5, 1.0, 4.0), Place(b"b", 5, 2.0, 3.0), Place(b"c", 5, 3.0, 5.0), Place(b"d", 1, 99.0, 99.0)]
    assert set(shelf.restore(places, 10.0)) == {b"b", b"d"}
    assert shelf.size == 10 and b"a" in shelf and b"c" in shelf


def test_nothing_is_kept_where_nothing_may_be():
    for bounds in ({"most_bytes": 0}, {"most_entries": 0}, {"ttl": 0.0}):
        shelf = Shelf(**{"most_bytes": 10, "most_entries": 10, "ttl": 10.0, **bounds})
        assert shelf.put(b"a", 1, 1.0) == [b"a"] and not shelf.use(b"a", 1.0)

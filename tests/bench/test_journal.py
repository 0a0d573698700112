from __future__ import annotations

from bench.journal import Journal


def test_what_was_kept_is_found_again(tmp_path):
    journal = Journal(tmp_path / "new", "voices", {"plan": 1})
    journal.keep("af_heart", [1.5, "é"])
    journal.keep("bm_lewis", {"words": 3})
    again = Journal(tmp_path / "new", "voices", {"plan": 1})
    assert again.found == journal.found == {"af_heart": [1.5, "é"], "bm_lewis": {"words": 3}}


def test_what_was_found_under_other_conditions_is_not_taken(tmp_path):
    Journal(tmp_path, "voices", {"plan": 1}).keep("af_heart", 1)
    assert Journal(tmp_path, "voices", {"plan": 2}).found == {}
    assert Journal(tmp_path, "quality", {"plan": 1}).found == {}


def test_a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole(tmp_path):
    journal = Journal(tmp_path, "voices", 1)
    journal.keep("a", 1)
    (file,) = tmp_path.iterdir()
    with file.open("a") as broken:
        broken.write('["b", {"wor')
    journal = Journal(tmp_path, "voices", 1)
    assert journal.found == {"a": 1}
    journal.keep("c", 3)
    assert Journal(tmp_path, "voices", 1).found == {"a": 1, "c": 3}


def test_closed_it_leaves_nothing(tmp_path):
    journal = Journal(tmp_path, "voices", 1)
    journal.keep("a", 1)
    journal.close()
    journal.close()
    assert list(tmp_path.iterdir()) == []

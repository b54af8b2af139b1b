"""kzn/columns/interner.py."""

from hypothesis import given
from hypothesis import strategies as st

from kzn.columns.interner import Interner


def test_names_get_dense_codes_and_keep_them() -> None:
    names = Interner(["reserved"])
    assert [names.code(name) for name in ("a", "b", "a", "reserved")] == [1, 2, 1, 0]
    assert (names.names, len(names), names.codes()) == (["reserved", "a", "b"], 3, {0, 1, 2})


def test_a_freed_code_goes_to_the_next_new_name() -> None:
    names = Interner(["a", "b"])
    names.free(0)
    assert names.get("a") is None
    assert names.code("b") == 1
    assert names.code("c") == 0
    assert names.code("a") == 2


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_codes_in_use_name_what_a_dict_names(steps: list[tuple[bool, int]]) -> None:
    names, plain = Interner[int](), dict[int, int]()
    for is_freed, name in steps:
        if not is_freed:
            plain[name] = names.code(name)
        elif name in plain:
            names.free(plain.pop(name))
        assert names.codes() == set(plain.values())
        assert len(names) == len(plain)
        assert {names.names[code]: code for code in names.codes()} == plain


def test_shared_names_stay_while_codes_are_used_again() -> None:
    names = Interner(["a", "b"])
    shared = names.share()
    names.free(0)
    names.code("c")
    assert (shared[:2], names.names) == (["a", "b"], ["c", "b"])
    again = names.share()
    names.code("d")  # a new code is added at the end of the same list
    assert again is names.names

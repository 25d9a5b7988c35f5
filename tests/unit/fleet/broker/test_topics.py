"""The trees answer as the plainest reading of the standard does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.broker.topics import (
    FilterTree,
    TopicError,
    TopicTree,
    check_filter,
    check_topic,
    covers,
    overlaps,
)

LEVELS = st.sampled_from(["a", "b", "", "$SYS", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(
        st.lists(st.one_of(LEVELS, st.just("+")), max_size=4),
        st.sampled_from([[], ["#"]]),
    )
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


def naive_match(topic_filter: str, topic: str) -> bool:
    """Match level by level, recursively; the reference for both trees."""

    def rest(wanted: list[str], given: list[str]) -> bool:
        if wanted == ["#"]:
            return True
        if not wanted or not given:
            return not wanted and not given
        return wanted[0] in {"+", given[0]} and rest(wanted[1:], given[1:])

    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    return rest(topic_filter.split("/"), topic.split("/"))


@given(st.lists(FILTERS, max_size=12), TOPICS)
def test_filter_tree_matches_like_the_naive_matcher(filters: list[str], topic: str) -> None:
    tree: FilterTree[int, str] = FilterTree()
    for key, topic_filter in enumerate(filters):
        tree.add(topic_filter, key, topic_filter)

    found = sorted(tree.match(topic))

    wanted = [(key, each) for key, each in enumerate(filters) if naive_match(each, topic)]
    assert found == wanted


@given(st.lists(FILTERS, max_size=12))
def test_filter_tree_is_empty_after_everyone_left(filters: list[str]) -> None:
    tree: FilterTree[int, int] = FilterTree()
    for key, topic_filter in enumerate(filters):
        tree.add(topic_filter, key, 0)

    assert all(tree.remove(topic_filter, key) for key, topic_filter in enumerate(filters))

    assert tree.is_empty()
    assert not tree.remove("a/b", 0)


@given(st.sets(TOPICS, max_size=12), FILTERS, st.sets(TOPICS, max_size=4))
def test_topic_tree_finds_what_the_naive_matcher_finds(
    topics: set[str], topic_filter: str, removed: set[str]
) -> None:
    tree: TopicTree[str] = TopicTree()
    for topic in topics:
        tree.put(topic, topic.upper())
    for topic in removed:
        assert tree.remove(topic) == (topic.upper() if topic in topics else None)

    found = sorted(tree.match(topic_filter))

    left = topics - removed
    assert found == sorted((t, t.upper()) for t in left if naive_match(topic_filter, t))
    assert len(tree) == len(left)
    assert all(tree.get(topic) == topic.upper() for topic in left)


@given(FILTERS, TOPICS)
def test_a_filter_covers_a_topic_name_exactly_when_it_matches(f: str, topic: str) -> None:
    assert covers(f.split("/"), topic.split("/")) == naive_match(f, topic)


@given(FILTERS, FILTERS, TOPICS)
def test_covers_and_overlaps_keep_their_word(one: str, other: str, topic: str) -> None:
    left, right = one.split("/"), other.split("/")
    in_one, in_other = naive_match(one, topic), naive_match(other, topic)

    assert not (covers(left, right) and in_other and not in_one)
    assert not (in_one and in_other and not overlaps(left, right))
    assert overlaps(left, right) == overlaps(right, left)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/#", "a", True),
        ("a/+", "a/b/c", False),
        ("+/b", "a/+", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/+", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/b", "a/c", False),
    ],
)
def test_overlap_is_not_too_generous(one: str, other: str, expected: bool) -> None:
    assert overlaps(one.split("/"), other.split("/")) is expected


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "/".join("a" * 201), "x" * 65_536])
def test_bad_topic_names_are_refused(topic: str) -> None:
    with pytest.raises(TopicError):
        check_topic(topic)


@pytest.mark.parametrize("topic_filter", ["", "a#", "#/a", "a/#/b", "a+/b", "++", "a\0"])
def test_bad_filters_are_refused(topic_filter: str) -> None:
    with pytest.raises(TopicError):
        check_filter(topic_filter)


@given(FILTERS)
def test_good_filters_pass(topic_filter: str) -> None:
    check_filter(topic_filter)

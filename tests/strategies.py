"""What Hypothesis draws from: tiny alphabets, so that names collide."""

from hypothesis import strategies as st

NAMES = ["a", "b", "a-", "é", ".x"]
"""`a-` sorts before `a/`, which is where listings of clashes are decided."""
ODD_KEYS = ["a//b", "/x", "a/../b", "a/", "b/", "%dot", "a%file", "50%.txt", "a/%empty", "./b"]

components = st.text(alphabet="a.%05/fileempty2-\0é"[:5] + "-é", max_size=4) | st.sampled_from(
    ["", ".", "..", "%empty", "%dot", "%dotdot", "a%file", "%25", "%00", "%2500", "%file", "a\0b"]
)
names = st.sampled_from(NAMES)
keys = st.lists(names, min_size=1, max_size=3).map("/".join) | st.sampled_from(ODD_KEYS)
steps = st.tuples(st.integers(0, 99), st.integers(0, 11), st.integers(0, 11), st.integers(0, 11))
"""A kind of operation and three free numbers; `tests.engine` says what they mean."""

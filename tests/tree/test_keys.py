"""Key components <-> file names is a bijection."""

from hypothesis import given
from hypothesis import strategies as st

from objfs.errors import InvalidName
from objfs.tree.keys import component_of, name_of

TOKENS = ["%", "25", "00", "\0", "file", "empty", "dot", "dotdot", "a", ".", "%file", "%empty", "é"]
texts = st.lists(st.sampled_from(TOKENS), max_size=6).map("".join)


@given(texts, st.booleans())
def test_every_component_comes_back(component, clash):
    """Its name is a legal one, and stands for it and nothing else."""
    name = name_of(component, clash=clash)
    assert name not in {b"", b".", b".."}
    assert b"\0" not in name
    assert b"/" not in name
    assert component_of(name) == (component, clash)


@given(texts.filter(lambda text: text not in {"", ".", ".."} and "\0" not in text))
def test_every_name_comes_back_or_is_refused(text):
    """A name that is accepted is the one that its component is shown as."""
    try:
        component, clash = component_of(text.encode())
    except InvalidName:
        return
    assert name_of(component, clash=clash) == text.encode()

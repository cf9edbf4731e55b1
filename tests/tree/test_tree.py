"""What the tree believes: answers in flight, replaced objects, clashes."""

from dataclasses import replace

import pytest

from objfs.tree.listing import Entry
from objfs.tree.tree import Doubt, Invalidate, Local, Look, Node, Tree
from objfs.types import ETag, Kind, ObjectInfo

OLD = ObjectInfo("a", 1, ETag("old"), 5)
NEW = ObjectInfo("a", 2, ETag("new"), 6)


@pytest.fixture
def tree() -> Tree:
    """An empty one that believes for ten seconds."""
    return Tree(Look(), ttl=10.0)


def learn(
    tree: Tree, info: ObjectInfo | None, now: float = 0.0, *, directory: bool = False
) -> list[Invalidate]:
    """The store's answer about `a`."""
    question = tree.ask(now)
    changes = tree.learn(tree.nodes.root, Entry("a", info, directory), question)
    tree.answered(question)
    return changes


def node_of(tree: Tree, name: bytes = b"a") -> Node:
    """The node of a name."""
    return tree.nodes.root.children[name]


def list_all(tree: Tree, *entries: Entry, now: float = 0.0) -> list[bytes]:
    """A whole listing of the root; the names to show."""
    question = tree.ask(now)
    shown, _ = tree.learn_entries(tree.nodes.root, entries, question)
    ours, _ = tree.learn_end(tree.nodes.root, question)
    tree.learn_complete(tree.nodes.root, question, len(shown))
    tree.answered(question)
    return [node.name for node in shown + ours]


def test_belief_ends(tree):
    """A presence and an absence are believed for the time to live, and no longer."""
    root = tree.nodes.root
    assert tree.lookup(root, b"a", 0.0) is Doubt.UNKNOWN
    learn(tree, OLD)
    assert tree.lookup(root, b"a", 9.9) is node_of(tree)
    assert tree.lookup(root, b"a", 10.0) is Doubt.UNKNOWN
    learn(tree, None, 10.0)
    assert tree.lookup(root, b"a", 19.9) is Doubt.ABSENT
    assert tree.lookup(root, b"a", 20.0) is Doubt.UNKNOWN


def test_complete_listing_tells_absences(tree):
    """After a listing no name needs a question of its own."""
    assert list_all(tree, Entry("a", OLD, directory=False)) == [b"a"]
    assert tree.lookup(tree.nodes.root, b"b", 1.0) is Doubt.ABSENT


def test_listing_in_flight_does_not_resurrect(tree):
    """A file unlinked after the question was asked stays away."""
    learn(tree, OLD)
    question = tree.ask(0.0)
    tree.remove(node_of(tree), mtime_ns=0, now=0.0)
    shown, _ = tree.learn_entries(tree.nodes.root, [Entry("a", OLD, directory=False)], question)
    assert shown == []
    assert tree.lookup(tree.nodes.root, b"a", 0.0) is Doubt.ABSENT


def test_listing_in_flight_does_not_hide(tree):
    """A file stored after the question was asked stays, with what is known of its object."""
    question = tree.ask(0.0)
    node = tree.create(tree.nodes.root, b"a", Kind.FILE, mtime_ns=1, now=0.0)
    tree.stored(node, OLD, 0.0)
    node.local = Local(3, 9)  # written to again
    ours, changes = tree.learn_end(tree.nodes.root, question)
    assert (ours, changes) == ([node], [])
    assert node.info == OLD


def test_replaced_while_open_is_a_new_node(tree):
    """The open one keeps its version and its number; the name gets another."""
    learn(tree, OLD)
    old = node_of(tree)
    old.opens = old.lookups = 1
    assert learn(tree, NEW, 1.0) == [Invalidate(tree.nodes.root.ino, b"a")]
    assert (old.attached, old.lost, old.info) == (False, True, OLD)
    assert node_of(tree).info == NEW
    assert node_of(tree).ino != old.ino


def test_replaced_while_closed_keeps_its_number(tree):
    """The kernel is told that its pages are worthless."""
    learn(tree, OLD)
    node = node_of(tree)
    node.lookups = 1
    assert learn(tree, NEW, 1.0) == [Invalidate(node.ino)]
    assert (node_of(tree), node.info, node.content) == (node, NEW, 1)


def test_same_version_keeps_the_time_that_was_shown(tree):
    """HEAD has seconds where a listing has milliseconds: a time must not flicker."""
    learn(tree, OLD)
    learn(tree, replace(OLD, mtime_ns=7, metadata={}), 1.0)
    assert node_of(tree).info == replace(OLD, metadata={})


def test_clash_comes_and_goes(tree):
    """`a` is shown as `a%file` as long as there is a directory `a`."""
    learn(tree, OLD)
    node = node_of(tree)
    learn(tree, OLD, 1.0, directory=True)
    assert node_of(tree, b"a%file") is node
    assert node_of(tree).kind is Kind.DIRECTORY
    learn(tree, OLD, 2.0)
    assert list(tree.nodes.root.children) == [b"a"]
    assert node_of(tree) is node


def test_directory_with_a_draft_below_outlives_its_removal_elsewhere(tree):
    """Others cannot take away what is newer here (PROMISES P14)."""
    learn(tree, None, directory=True)
    draft = tree.create(node_of(tree), b"x", Kind.FILE, mtime_ns=1, now=0.0)
    draft.local = Local(0, 1)
    assert list_all(tree, now=1.0) == [b"a"]
    assert draft.attached

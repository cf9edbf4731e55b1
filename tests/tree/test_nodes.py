"""Which nodes stay, and what number they have."""

from objfs.tree.nodes import Local, Nodes
from objfs.types import ROOT, Kind


def test_referred_node_outlives_its_name():
    """Until the kernel has forgotten it and every handle is released, its number means it."""
    nodes = Nodes()
    node = nodes.add(nodes.root, b"a", Kind.FILE)
    node.lookups = node.opens = 1
    nodes.detach(node)
    assert nodes.get(node.ino) is node
    node.lookups = 0
    nodes.settle(node)
    assert nodes.get(node.ino) is node
    node.opens = 0
    nodes.settle(node)
    assert nodes.get(node.ino) is None


def test_number_in_use_is_not_given_again():
    """A new file of the same name beside an unlinked open one has another number."""
    nodes = Nodes()
    old = nodes.add(nodes.root, b"a", Kind.FILE)
    number, old.opens = old.ino, 1
    nodes.detach(old)
    new = nodes.add(nodes.root, b"a", Kind.FILE)
    assert new.ino not in {number, ROOT}
    assert Nodes().add(Nodes().root, b"a", Kind.FILE).ino == number  # the same at the next mount


def test_oldest_idle_nodes_go_first():
    """Memory is bounded; what was dropped is no longer known to be all there is."""
    nodes = Nodes(max_idle=2)
    nodes.root.complete_until = 99.0
    kept = nodes.add(nodes.root, b"kept", Kind.FILE)
    kept.lookups = 1
    nodes.settle(kept)
    for name in (b"a", b"b"):
        nodes.add(nodes.root, name, Kind.FILE)
    assert nodes.root.complete_until == 99.0
    nodes.add(nodes.root, b"c", Kind.FILE)
    assert set(nodes.root.children) == {b"kept", b"b", b"c"}
    assert nodes.root.complete_until == 0.0
    assert len(nodes) == 4


def test_directory_goes_after_its_children():
    """A directory that holds nodes is in use; then it is as idle as they were."""
    nodes = Nodes(max_idle=1)
    directory = nodes.add(nodes.root, b"d", Kind.DIRECTORY)
    nodes.add(directory, b"x", Kind.FILE)
    nodes.add(nodes.root, b"y", Kind.FILE)
    assert set(nodes.root.children) == {b"d"} or set(nodes.root.children) == {b"y"}
    assert len(nodes) == 2


def test_detached_directory_takes_its_children_along():
    """Nothing below a removed directory keeps a path."""
    nodes = Nodes()
    directory = nodes.add(nodes.root, b"d", Kind.DIRECTORY)
    child = nodes.add(directory, b"x", Kind.FILE)
    child.lookups = 1
    nodes.settle(child)
    nodes.detach(directory)
    assert not child.attached
    assert nodes.get(directory.ino) is None
    assert nodes.get(child.ino) is child


def test_p14_directories_that_live_only_here_outlast_idle_ones():
    """P14: a kept directory was forgotten, and so vanished, once enough others had been seen."""
    nodes = Nodes(max_idle=2, max_kept=2)
    kept = [nodes.add(nodes.root, name, Kind.DIRECTORY) for name in (b"k1", b"k2")]
    for node in kept:
        node.local = Local(0, 0)
    for number in range(9):
        nodes.add(nodes.root, b"f%d" % number, Kind.FILE)
    assert set(nodes.root.children) == {b"k1", b"k2", b"f7", b"f8"}
    kept[0].lookups = 1
    nodes.settle(kept[0])
    kept[0].lookups = 0
    nodes.settle(kept[0])
    third = nodes.add(nodes.root, b"k3", Kind.DIRECTORY)
    third.local = Local(0, 0)
    for number in range(9):
        nodes.add(nodes.root, b"g%d" % number, Kind.FILE)
    assert set(nodes.root.children) == {b"k1", b"k3", b"g7", b"g8"}
    assert len(nodes) == 5

"""The default tracker passes items through, in silence and one at a time."""

from wherefrom.core.progress import quiet


def test_quiet_yields_the_items_and_prints_nothing__identity_items(capfd):
    assert list(quiet(iter([3, 1, 2]), "label", total=3)) == [3, 1, 2]
    assert capfd.readouterr() == ("", "")


def test_quiet_is_lazy__identity_one_at_a_time():
    drawn = []
    items = quiet((drawn.append(i) or i for i in range(5)), "label")
    assert drawn == []
    assert next(items) == 0
    assert drawn == [0]

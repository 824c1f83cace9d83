"""When a backlog is put out of the way of Python's search for cycles."""

from stormsail.engine.api.cycles import Aside


def test_a_backlog_is_put_aside_as_it_grows_and_taken_back_once_half_of_it_is_gone() -> None:
    done: list[str] = []
    aside = Aside(freeze=lambda: done.append("freeze"), unfreeze=lambda: done.append("unfreeze"), step=100)
    told = []
    for waiting in (0, 99, 100, 150, 199, 200, 120, 100, 99, 99, 150):
        done.clear()
        aside.look(waiting)
        told.append((waiting, *done))
    assert told == [
        (0,),
        (99,),
        (100, "freeze"),
        (150,),
        (199,),
        (200, "freeze"),
        (120,),
        (100,),
        (99, "unfreeze"),
        (99,),
        (150, "freeze"),
    ]

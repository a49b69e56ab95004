"""Ways to models: shared by all who ask for the same, and led elsewhere at once."""

from pipeline.routes import Routes
from tests.pipeline.session_parts import FakeModel


def test_who_asks_for_the_same_shares_a_route() -> None:
    routes, model = Routes("m"), FakeModel()
    newest = routes.to(None, model)
    assert newest is routes.to(None, model)
    assert newest is not routes.to("1", model)
    assert (newest.name, newest.version, newest.current) == ("m", None, model)


def test_all_routes_lead_to_what_is_ready_now() -> None:
    routes, old, new = Routes("m"), FakeModel("old"), FakeModel("new")
    newest, first, stable = routes.to(None, old), routes.to("1", old), routes.to("stable", old)
    routes.update(lambda version: old if version == "1" else new)
    assert (newest.current, first.current, stable.current) == (new, old, new)


def test_a_route_that_leads_nowhere_is_forgotten_and_says_so_to_who_holds_it() -> None:
    routes, model = Routes("m"), FakeModel()
    gone = routes.to("1", model)
    routes.to(None, model)
    routes.update(lambda version: None if version == "1" else model)
    assert gone.current is None
    assert len(routes) == 1
    assert routes.to("1", model) is not gone

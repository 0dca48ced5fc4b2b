"""A charger that tests itself, or wakes its car up with state F, keeps what it was given."""

from manager.core.site import site
from tests.manager.core.plant import Plant


def test_the_lease_is_not_taken_away_for_a_wake_up() -> None:
    plant = Plant(site(30, update_interval_ms=0), role="house")
    plant.add("Charger-1")
    plant.house(10)
    plant.state("Charger-1", "B")
    plant.run(10)
    before = plant.offers()
    assert before == (20,)
    for _ in range(5):
        plant.state("Charger-1", "F")
        plant.run(4)
        assert plant.site.chargers["Charger-1"].limit_a == before[0]
        plant.state("Charger-1", "B")
        plant.run(1)
        assert plant.site.chargers["Charger-1"].limit_a == before[0]

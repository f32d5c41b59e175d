"""A replica that outlives a `serve deploy` looks at the code, once for each."""

from raytasks.api.reapplied import Applied, Reapplied


async def test_it_acts_once_when_all_has_settled() -> None:
    answers: list[Applied | None] = []
    acted: list[float] = []

    async def applied() -> Applied | None:
        return answers[-1]

    async def act(at: float) -> None:
        acted.append(at)

    watch = Reapplied(applied, act)

    async def look(answer: Applied | None) -> None:
        answers.append(answer)
        await watch.look()

    await look(None)  # Serve does not know of it yet
    await look(Applied(100.0, settled=False))
    await look(Applied(100.0, settled=True))  # its own deployment
    await look(Applied(100.0, settled=True))
    assert acted == []
    await look(Applied(200.0, settled=False))  # it may be replaced yet
    assert acted == []
    await look(Applied(200.0, settled=True))
    await look(Applied(200.0, settled=True))
    assert acted == [200.0]


async def test_what_came_during_the_build_counts() -> None:
    acted: list[float] = []

    async def applied() -> Applied:
        return Applied(200.0, settled=True)

    async def act(at: float) -> None:
        acted.append(at)

    watch = Reapplied(applied, act, built_for=100.0)
    await watch.look()
    await watch.look()
    assert acted == [200.0]
    current = Reapplied(applied, act, built_for=200.0)
    await current.look()
    assert acted == [200.0]

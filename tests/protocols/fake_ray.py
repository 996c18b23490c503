"""A Ray in this process whose workers die when a test says so: the engine's decisions without a cluster."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ActorDiedError(RayError):
    pass


class Call:
    """One call of a method of an actor: waiting, answered or lost."""

    def __init__(self, actor: Actor, method: str, arguments: tuple[object, ...]) -> None:
        self.actor, self.method, self.arguments = actor, method, arguments
        self.outcome: object = None
        self.done = False


class Actor:
    """A worker; ``actor.method.remote(…)`` makes a call."""

    def __init__(self, fake: FakeRay, inner: object) -> None:
        self.fake, self.inner, self.alive = fake, inner, True

    def __getattr__(self, method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *arguments: self.fake.call(self, method, arguments))


class FakeRay:
    """What the engine uses of Ray.

    Args:
        dies: called before a call is executed; true kills its worker instead.
        order: which of the calls that wait is executed first.
        nodes: what ``ray.nodes()`` tells.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(
        self,
        dies: Callable[[Call], bool] = lambda _call: False,
        order: random.Random | None = None,
        nodes: list[dict[str, object]] | None = None,
    ) -> None:
        self.dies, self.order = dies, order or random.Random(0)
        self._nodes = nodes if nodes is not None else [{"Alive": True, "Resources": {"CPU": 3.0}}]
        self.actors: list[Actor] = []
        self.options: list[dict[str, object]] = []
        self.answered: list[tuple[str, ...]] = []
        self.shut_down = False
        self.places_nobody = False

    def is_initialized(self) -> bool:
        return True

    def shutdown(self) -> None:
        self.shut_down = True

    def nodes(self):
        return self._nodes

    def available_resources(self):
        return {"CPU": 0.0}

    def remote(self, kind):
        def start(*arguments):
            self.actors.append(Actor(self, kind(*arguments)))
            return self.actors[-1]

        def options(**told):
            self.options.append(told)
            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def call(self, actor: Actor, method: str, arguments: tuple[object, ...]) -> Call:
        return Call(actor, method, arguments)

    def kill(self, actor: Actor, *, no_restart: bool) -> None:
        assert no_restart
        actor.alive = False

    def wait(self, calls, *, num_returns: int, timeout: float):
        del timeout
        ready = [call for call in calls if call.done]
        if not ready and not self.places_nobody:
            call = self.order.choice(list(calls))
            self._execute(call)
            ready = [call]
        ready = ready[:num_returns]
        return ready, [call for call in calls if call not in ready]

    def get(self, call: Call):
        if isinstance(call.outcome, RayError):
            raise call.outcome
        return call.outcome

    @property
    def living(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.alive]

    def _execute(self, call: Call) -> None:
        call.done = True
        if not call.actor.alive or self.dies(call):
            call.actor.alive = False
            call.outcome = ActorDiedError("the actor died\nand a page of advice")
            return
        if call.method == "answer":
            self.answered.append(tuple(problem.task_id for problem in call.arguments[0].problems))
        try:
            call.outcome = getattr(call.actor.inner, call.method)(*call.arguments)
        except Exception as error:
            call.outcome = RayTaskError(error)

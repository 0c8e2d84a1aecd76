"""A clock for tests: time stands still until the test moves it, so nothing ever sleeps.

It is the simulator's own virtual clock, because one clock for the router and for the providers it talks to is what
makes their windows agree to the nanosecond.
"""

from __future__ import annotations

from apikeyrouter.simulator.clock import VirtualClock


class ManualClock(VirtualClock):
    """`ApiKeyRouter(clock=ManualClock())`; `advance(seconds)` moves time and wakes who is due, `sleepers` counts them.

    `await clock.run_for(seconds)` moves from sleeper to sleeper and lets each act. `start` is epoch seconds.
    """

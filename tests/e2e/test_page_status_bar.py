"""The status bar, which looks at the service as long as somebody looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import Route, expect

if TYPE_CHECKING:
    from support.browser import Watched
    from support.servers import Live

NOTHING = "\u2013"  # where no figure is known


def test_the_status_bar_rests_while_nobody_looks(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.clock.install()
    page.goto(fake.url)
    model = page.locator("#status-bar dd").first
    expect(model).to_have_text("fake")

    def asked() -> int:
        return sum(url.endswith("/metrics") for url in desktop.requests)

    with page.expect_response("**/metrics"):
        page.clock.run_for(3500)
    desktop.look_away(hidden=True)
    before = asked()
    page.clock.run_for(60_000)
    assert asked() == before
    with page.expect_response("**/metrics"):
        desktop.look_away(hidden=False)


def test_the_status_bar_does_not_insist(desktop: Watched, fake: Live) -> None:
    page = desktop.page
    page.clock.install()
    page.goto(fake.url)
    model = page.locator("#status-bar dd").first
    expect(model).to_have_text("fake")
    asked = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "600"})

    page.route("**/metrics", refuse)
    page.clock.run_for(4000)
    expect(model).to_have_text(NOTHING)
    page.clock.fast_forward(400_000)
    desktop.wait_until_idle()
    assert len(asked) == 1
    page.unroute("**/metrics")
    with page.expect_response("**/metrics"):
        page.clock.fast_forward(200_000)
    expect(model).to_have_text("fake")

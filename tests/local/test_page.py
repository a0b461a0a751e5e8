"""The page in a real browser: what it shows, its controls and its accessibility."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from elector_thread.local import LocalElector

from ..polling import until

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 10_000  # milliseconds

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="NOT TESTED: no browser (apt-get install chromium)"
)
expect.set_options(timeout=PATIENCE)

REPLICA = """
import signal, sys
from elector_thread import Elector
with Elector(poll_interval=0.2, reconcile_interval=0.4, grace_period=3, request_timeout=0.5):
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser: Browser, running: LocalElector) -> Iterator[tuple[Page, list[str]]]:
    """The page, opened once, and what the browser logs."""
    complaints: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(running.ui_url)
    yield page, complaints
    page.close()


@pytest.fixture
def page(tab: tuple[Page, list[str]], local: LocalElector) -> Iterator[Page]:
    """The page of an idle local elector. Fails if the browser logs an error."""
    page, complaints = tab
    page.set_viewport_size({"width": 1100, "height": 900})
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#leader")).to_have_text("none")
    yield page
    refusals = "400 (Bad Request)"  # the page tells them in its own words
    told = [text for text in complaints if refusals not in text]
    complaints.clear()
    assert told == []


Processes = dict[str, "subprocess.Popen[bytes]"]


@pytest.fixture
def replicas(local: LocalElector) -> Iterator[Processes]:
    """Two real processes, as a supervisor runs them."""
    running: Processes = {}

    def act(number: signal.Signals, name: str) -> None:
        running[name].send_signal(number)
        if number is signal.SIGKILL:
            running[name].wait(10)
            local.remove_replica(name)

    for name in ("pod-a", "pod-b"):
        environ = {**local.add_replica(name).environ, "ELECTOR_THREAD_IDENTITY": name}
        running[name] = subprocess.Popen(
            [sys.executable, "-c", REPLICA], env=environ, stdin=subprocess.PIPE
        )
    local.set_process_hooks(
        freeze=lambda name: act(signal.SIGSTOP, name),
        thaw=lambda name: act(signal.SIGCONT, name),
        kill=lambda name: act(signal.SIGKILL, name),
    )
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


def lane(page: Page, name: str) -> str:
    return f".lane:has(.lane-name > span:text-is('{name}'))"


def test_elect_freeze_split_and_kill_show_in_the_lanes(
    page: Page, local: LocalElector, replicas: Processes
) -> None:
    a, b = lane(page, "pod-a"), lane(page, "pod-b")
    expect(page.locator(f"{a} small")).to_have_text("leader")
    expect(page.locator(f"{b} small")).to_have_text("follower")
    expect(page.locator(f"{a} .seg.leader")).not_to_have_count(0)

    page.get_by_role("button", name="Elect pod-b").click()
    expect(page.locator("#leader")).to_have_text("pod-b")
    expect(page.locator(f"{b} small")).to_have_text("leader")
    expect(page.locator(f"{a} small")).to_have_text("follower")

    page.get_by_label("Target").select_option("pod-b")
    page.get_by_label("Duration").select_option("")
    page.get_by_role("button", name="Isolate replica").click()
    expect(page.get_by_role("alert")).to_have_text(
        "pod-a and pod-b claim to be the leader; the elected leader is pod-a"
    )
    expect(page.locator(f"{b} small")).to_have_text("⚠ leader, disagrees")
    expect(page.locator(f"{b} .seg.conflict")).not_to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("pod-b"))).to_contain_text("isolated")
    expect(page.locator("#faults li")).to_have_text(re.compile("Isolate replica – pod-b"))
    page.get_by_role("button", name="End Isolate replica, pod-b").click()
    expect(page.locator("#disagreement")).to_be_hidden()
    expect(page.locator(f"{b} small")).to_have_text("follower")

    page.get_by_role("button", name="Freeze replica").click()
    expect(page.locator(f"{b} small")).to_have_text("silent")
    expect(page.get_by_role("row", name=re.compile("pod-b"))).to_contain_text("frozen")
    page.get_by_role("button", name="End all faults").click()
    expect(page.locator(f"{b} small")).to_have_text("follower")

    page.get_by_role("button", name="Kill pod-a").click()
    expect(page.locator(f"{a} small")).to_have_text("gone")
    expect(page.locator("#leader")).to_have_text("pod-b")
    expect(page.locator(f"{b} small")).to_have_text("leader")
    assert replicas["pod-a"].returncode == -signal.SIGKILL


def test_every_fault_has_a_button_that_makes_it(page: Page, local: LocalElector) -> None:
    local.add_replica("pod-a")
    local.set_process_hooks(freeze=lambda _: None, thaw=lambda _: None)
    expect(page.get_by_label("Target")).to_contain_text("pod-a")
    page.get_by_label("Target").select_option("pod-a")
    page.get_by_label("Duration").select_option("300")
    buttons = page.locator("#kinds button")
    expect(buttons).to_have_count(19)
    kinds = [button.get_attribute("data-kind") for button in buttons.all()]
    for kind in kinds:
        if kind != "kill":
            page.locator(f"#kinds button[data-kind={kind}]").click()
    until(lambda: len(local.state()["faults"]) == 18, "all faults at once")
    on = {fault["kind"] for fault in local.state()["faults"]}
    assert on | {"kill"} == set(kinds)
    expect(page.locator("#faults li")).to_have_count(18)
    page.get_by_role("button", name="End all faults").click()
    expect(page.locator("#no-faults")).to_be_visible()


def test_by_keyboard_alone(page: Page, local: LocalElector) -> None:
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the replicas")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Elect by name")).to_be_focused()
    page.keyboard.type("pod-k")
    page.keyboard.press("Enter")
    expect(page.locator("#leader")).to_have_text("pod-k")
    mute = page.locator("#kinds").get_by_role("button", name="Mute streams")
    mute.focus()
    page.keyboard.press("Space")
    expect(page.locator("#faults li")).to_have_count(1)
    expect(mute).to_be_focused()  # through every update of the page
    outline = mute.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"


def test_a_screen_reader_hears_changes_and_can_read_the_state(
    page: Page, local: LocalElector
) -> None:
    local.add_replica("pod-a")
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "polite")
    local.fault("mute", seconds=60)
    expect(log).to_contain_text("Fault began: Mute streams, all, for 60 s")
    expect(page.get_by_role("columnheader", name="Leader it knows")).to_be_attached()
    expect(page.get_by_role("row", name=re.compile("pod-a"))).to_contain_text("no reports")
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, select")].filter(
            (one) => !(one.ariaLabel || one.labels?.length || one.textContent.trim())).length"""
    )
    assert unnamed == 0


def test_who_reads_the_lease_is_marked(page: Page, local: LocalElector) -> None:
    reading = local.add_replica("pod-a")
    local.add_replica("pod-b")
    urllib.request.urlopen(reading.environ["ELECTOR_THREAD_LEASE_URL"]).close()
    expect(page.get_by_role("row", name=re.compile("^pod-a"))).to_contain_text("reads the Lease")
    expect(page.get_by_role("row", name=re.compile("^pod-b"))).not_to_contain_text("reads")


def test_a_refusal_is_shown(page: Page, local: LocalElector) -> None:
    page.get_by_label("Elect by name").fill("\u200b")
    page.get_by_role("button", name="Elect", exact=True).click()
    expect(page.locator("#problem")).to_contain_text("name: expected the name of a replica")


@pytest.mark.parametrize(
    ("button", "kind"), [("Kill replica", "kill"), ("Isolate replica", "split")]
)
def test_what_hits_one_replica_asks_for_it(
    page: Page, local: LocalElector, button: str, kind: str
) -> None:
    page.reload()  # no target is chosen
    on_page = page.locator("#kinds").get_by_role("button", name=button)
    expect(on_page).to_be_disabled()
    local.add_replica("pod-a")
    local.add_replica("pod-b")
    expect(on_page).to_be_enabled()
    entries: list[dict[str, object]] = []
    local.follow(entries.append)

    dialog = page.get_by_role("dialog", name=button)
    on_page.click()
    dialog.get_by_role("button", name="Cancel").click()
    on_page.click()
    page.keyboard.press("Escape")
    on_page.click()
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_be_visible()  # no replica is chosen by default
    dialog.get_by_label("Replica").select_option("pod-b")
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_be_hidden()
    until(lambda: [entry for entry in entries if entry["what"] == "fault"], "the fault")
    hit = [(entry["fault"], entry["replica"]) for entry in entries if entry["what"] == "fault"]
    assert hit == [(kind, "pod-b")]


def test_fits_and_can_be_read(page: Page, local: LocalElector) -> None:
    local.add_replica("app-with-a-rather-long-name-6d4c8f9b7-x2k9p")
    local.fault("mute")
    expect(page.locator("#faults li")).to_have_count(1)
    for width in (375, 1100):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.get_by_role("button", name="Kill replica").hover()  # a colour of its own
            assert page.evaluate(CONTRASTS) == []


def test_labels_in_the_timeline_do_not_overlap(page: Page, local: LocalElector) -> None:
    for name in ("app-6d4c8f9b7-x2k9p", "app-6d4c8f9b7-m4qzt"):
        local.add_replica(name)
        local.fault("error", seconds=30)
        for kind in ("mute", "garbage", "empty"):
            local.fault(kind, name, seconds=30)
        local.elect(name)
    local.fault("kill", "app-6d4c8f9b7-m4qzt")
    expect(page.locator(f"{lane(page, 'app-6d4c8f9b7-m4qzt')} small")).to_have_text("gone")
    for width in (375, 1100):
        page.set_viewport_size({"width": width, "height": 800})
        for span in ("30", "120", "600"):
            page.locator(f"input[name=span][value='{span}']").check(force=True)
            assert page.evaluate(OVERLAPS) == []


def test_the_timeline_begins_with_what_there_is(browser: Browser) -> None:
    with LocalElector() as local, browser.new_context() as context:
        local.add_replica("pod-a")
        page = context.new_page()
        page.goto(local.ui_url)
        expect(page.locator(".election-lane .seg")).to_have_count(1)
        *_, oldest = page.locator(".axis text").all_text_contents()
        seconds = re.fullmatch(r"−(\d+) s", oldest)
        assert seconds, oldest
        assert int(seconds[1]) <= max(10, local.state()["now"]), "the span is up to two minutes"


def test_a_fault_and_its_effect_are_in_view_together(browser: Browser) -> None:
    with LocalElector() as local, browser.new_context() as context:
        for name in ("pod-a", "pod-b", "pod-c"):
            local.add_replica(name)
        page = context.new_page()
        page.goto(local.ui_url)
        expect(page.locator(lane(page, "pod-c"))).to_be_visible()
        for width, height in ((375, 812), (1100, 900)):
            page.set_viewport_size({"width": width, "height": height})
            lanes = page.locator("#lanes").bounding_box()
            isolate = page.locator("#kinds button[data-kind=split]").bounding_box()
            assert lanes
            assert isolate
            assert isolate["y"] + isolate["height"] - lanes["y"] < height


MOVED_BY_A_WARNING = """
() => {
  window.scrollTo(0, 0);  // where an earlier test has scrolled to, the page may be about to shrink
  const button = document.querySelector("#kinds button[data-kind=split]");
  const top = () => button.getBoundingClientRect().top;
  const before = top();
  document.querySelector("#disagreement").hidden = false;
  return top() - before;
}
"""
"""In one step: in between, the page may have drawn something new."""


def test_a_warning_moves_no_button(page: Page, local: LocalElector) -> None:
    for name in ("pod-a", "pod-b"):
        local.add_replica(name)
    expect(page.locator(lane(page, "pod-b"))).to_be_visible()
    assert page.evaluate(MOVED_BY_A_WARNING) == 0


OVERLAPS = """
() => {
  const bad = [];
  for (const lane of document.querySelectorAll(".lane svg, .lane-name, .numbers, .legend")) {
    const texts = [...lane.querySelectorAll("text, span, small, dt, li")]
      .map((element) => [element.textContent, element.getBoundingClientRect()])
      .filter(([words, box]) => words && box.width);
    texts.forEach(([words, a], place) => {
      for (const [others, b] of texts.slice(place + 1)) {
        const beside = a.right <= b.left || b.right <= a.left;
        const above = a.bottom <= b.top || b.bottom <= a.top;
        if (!beside && !above) bad.push(`${words} / ${others}`);
      }
    });
  }
  return bad;
}
"""


CONTRASTS = """
() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number)
    .map((n, i) => (text.startsWith("color(srgb") && i < 3 ? n * 255 : n));
  const shine = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const texts = "h1, h2, h3, p, dt, dd, th, td, small, span, label, button, code, time";
  for (const element of document.querySelectorAll(texts)) {
    const text = element.textContent.trim();
    if (!text || !element.checkVisibility() || element.disabled) continue;
    const [a, b] = [shine(parse(getComputedStyle(element).color)), shine(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${element.tagName} ${text} ${ratio.toFixed(2)}`);
  }
  return bad;
}
"""


def test_comes_back_when_the_connection_does(browser: Browser) -> None:
    with LocalElector() as first:
        context = browser.new_context()
        page = context.new_page()
        page.goto(first.ui_url)
        expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#connection")).to_have_text("disconnected; retrying")
    context.close()


def test_a_browsers_event_source(browser: Browser, local: LocalElector) -> None:
    sidecar = local.add_replica("pod-a")
    local.elect("pod-a")
    context = browser.new_context()
    page = context.new_page()
    page.goto(sidecar.get_url)
    page.evaluate("""() => {
      window.names = [];
      new EventSource("/sse").onmessage = (event) => names.push(JSON.parse(event.data).name);
    }""")
    page.wait_for_function("names.length === 1")
    local.elect("pod-b")
    page.wait_for_function("names.length === 2")
    assert page.evaluate("names") == ["pod-a", "pod-b"]
    context.close()

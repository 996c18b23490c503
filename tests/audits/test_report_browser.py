"""The page in a real browser, offline: nothing wider than the screen, nothing overlapping, no error, working controls.

The page runs in a frame as wide as a phone or a desktop and reports on itself; the frame around it prints what it says.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess

import pytest

from audits.report.page import render
from tests.audits.report_samples import small_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium here; install it to see the page in a browser")

EARLY = """<script>
window.problems = [];
window.addEventListener("error", (e) => window.problems.push("error: " + e.message));
document.addEventListener("securitypolicyviolation", (e) => window.problems.push("blocked: " + e.blockedURI));
</script>"""
LATE = r"""<script>
window.addEventListener("load", () => {
  const wide = innerWidth, found = {width: wide, problems: window.problems, broken: window.broken || 0};
  const scrolls = (e) => e && e.closest(".scroll");
  found.page = document.documentElement.scrollWidth;
  found.outside = [...document.querySelectorAll("body *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > wide + 1 || box.left < -1) && !scrolls(e.parentElement);
  }).map((e) => e.outerHTML.slice(0, 80));
  const boxes = (svg) => [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
  found.overlaps = [];
  found.cut = [];
  found.figures = [];
  for (const svg of document.querySelectorAll("svg")) {
    const texts = boxes(svg), frame = svg.getBoundingClientRect();
    texts.forEach(([told, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.bottom > frame.bottom + 1) found.cut.push(told);
      texts.slice(i + 1).forEach(([other, b]) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 1 && down > 4) found.overlaps.push(told + " | " + other);
      });
    });
    found.figures.push(texts.map(([told]) => told).join(" "));
  }
  const view = document.querySelector(".example"), slider = view.querySelector("input[type=range]");
  const canvas = view.querySelector(".canvas"), state = view.querySelector(".state");
  const at = (step) => {
    slider.value = step;
    slider.dispatchEvent(new Event("input"));
    return [canvas.textContent, state.textContent, canvas.classList.contains("done")];
  };
  found.steps = [0, 1, 2, 3].map(at);
  (view.querySelector(".draft .tok") || canvas.querySelector(".tok")).click();
  found.info = view.querySelector(".info").textContent;
  const form = document.getElementById("filter");
  const shown = () => [...document.querySelectorAll(".matrix .chip")].filter((c) => c.offsetParent).length;
  found.chips = [shown()];
  const press = (selector) => { form.querySelector(selector).click(); found.chips.push(shown()); };
  press('[value="reproduced"]');
  press('[value="reproduced"]');
  press('[value="custom"]');
  press('[value="custom"]');
  form.elements.text.value = "HUMANEVAL";
  form.dispatchEvent(new Event("input"));
  found.chips.push(shown());
  found.told = document.getElementById("filtered").textContent;
  const paper = () => getComputedStyle(document.body).backgroundColor;
  const button = document.getElementById("theme");
  found.papers = [0, 1, 2].map(() => { button.click(); return button.textContent + " " + paper(); });
  parent.postMessage(JSON.stringify(found), "*");
});
</script>"""
FRAME = """<!doctype html><body style="margin:0">
<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>
<pre id="found"></pre><script>addEventListener("message", (e) => {{
  document.getElementById("found").textContent = "FOUND" + btoa(unescape(encodeURIComponent(e.data))) + "END"; }});
</script>"""


@pytest.fixture(scope="module", params=[375, 1280])
def seen(request, tmp_path_factory):
    """Open the page at a width and return what it reports of itself."""
    folder = tmp_path_factory.mktemp("page")
    page = render(small_report()).replace("<style>", EARLY + "<style>", 1).replace("</body>", LATE + "</body>")
    page = page.replace('<details class="example" >', '<details class="example" open>')
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=request.param), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={max(600, request.param)},1000"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", (folder / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search("FOUND(.*?)END</pre>", done.stdout)
    assert found, done.stderr[-2000:]
    told = json.loads(base64.b64decode(found[1]).decode())
    told["console"] = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return told


def test_no_error_and_nothing_of_the_texts_is_run(seen):
    assert seen["problems"] == []
    assert seen["console"] == []
    assert seen["broken"] == 0


def test_nothing_is_wider_than_the_screen(seen):
    assert seen["page"] <= seen["width"]
    assert seen["outside"] == []


def test_labels_neither_overlap_nor_leave_their_figure(seen):
    assert seen["overlaps"] == []
    assert seen["cut"] == []


def test_every_figure_names_its_unit_and_n(seen):
    assert len(seen["figures"]) >= 6
    for told in seen["figures"]:
        assert re.search(r"n = \d", told) or "n in each row" in told, told
        assert re.search(r"points|%|problems|samples|GFLOP|passes|steps", told), told


def test_the_slider_moves_the_token_view(seen):
    start, first, second, last = seen["steps"]
    assert "░" in start[0]
    assert "So " in start[0]  # kept from the beginning
    assert start[1].startswith("step 0 of 3: 0 of 3 hidden positions written")
    assert first[1].startswith("step 1 of 3: 1 of 3")
    assert not second[2]
    assert "░" not in last[0]
    assert "3" in last[0]
    assert last[2]
    assert last[1].endswith("wrong at the end (wrong-answer)")


def test_a_tapped_token_is_explained(seen):
    assert seen["info"] == "draft token “So ”: entropy 0.1 nats"


def test_the_filter_hides_and_shows(seen):
    everything, without_reproduced, again, without_custom, back, by_name = seen["chips"]
    assert everything == again == back == 4
    assert without_reproduced == 2
    assert without_custom == 3
    assert by_name == 1
    assert seen["told"].startswith("1 of 4 verdicts shown")


def test_colours_switch(seen):
    light, dark, system = seen["papers"]
    assert light.startswith("colours: light")
    assert dark.startswith("colours: dark")
    assert light.split("rgb")[1] != dark.split("rgb")[1]
    assert system.startswith("colours: system")

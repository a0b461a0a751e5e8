// Collects the events of the local elector and draws them as lanes of an SVG timeline.
// All times are seconds since the local elector's start.

const SVG = "http://www.w3.org/2000/svg";
const STRIP = 21;  // height of the lower part of a lane, which shows its faults
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300];  // seconds between two marks on the axis
const SHORTEST_SPAN = 10;  // seconds
const WORDS = { leader: "leader", follower: "follower", unknown: "unknown", silent: "silent" };

// The events, grouped by what they are about.
export class Timeline {
  elections = [];          // {from, to, leader}
  replicas = new Map();  // name -> {from, to, views: [{from, to, state, leader}]}
  faults = new Map();  // id -> {from, to, fault, replica}
  disagreements = [];  // {from, to, text, replicas}

  add(entry) {
    const { t, what, replica } = entry;
    const lane = this.replicas.get(replica);
    if (what === "truth") turn(this.elections, t, { leader: entry.leader });
    if (what === "joined") this.replicas.set(replica, { from: t, to: null, views: [] });
    if (what === "view" && lane) turn(lane.views, t, { state: entry.state, leader: entry.leader });
    if (what === "gone" && lane) { lane.to = t; turn(lane.views, t, null); }
    if (what === "fault") {
      this.faults.set(entry.id, { from: t, to: entry.once ? t : null, fault: entry.fault, replica });
    }
    if (what === "cleared" && this.faults.has(entry.id)) this.faults.get(entry.id).to = t;
    if (what === "disagreement") {
      const { text, replicas } = entry;
      turn(this.disagreements, text ? entry.since ?? t : t, text ? { text, replicas } : null);
    }
  }

  // Remove what ended before the longest time span.
  forget(before) {
    const over = (item) => item.to !== null && item.to < before;
    for (const [name, lane] of this.replicas) {
      if (over(lane)) this.replicas.delete(name);
      else lane.views = lane.views.filter((view) => !over(view));
    }
    for (const [id, fault] of this.faults) if (over(fault)) this.faults.delete(id);
    this.elections = this.elections.filter((item) => !over(item));
    this.disagreements = this.disagreements.filter((item) => !over(item));
  }

  // When the oldest of what it holds began; Infinity if it holds nothing.
  first() {
    const items = [...this.elections, ...this.replicas.values(), ...this.faults.values()];
    return Math.min(...items.map((item) => item.from));
  }

  leaderSince() {  // null without a leader
    const latest = this.elections.at(-1);
    return latest?.leader ? latest.from : null;
  }
}

// Ends the last item and begins the next one.
function turn(list, at, next) {
  const last = list.at(-1);
  if (last && last.to === null) last.to = at;
  if (next) list.push({ from: at, to: null, ...next });
}

// The parts of an item during which there was a clash, and those during which there was none.
function split(item, clashes, now) {
  const parts = [];
  const end = item.to ?? now;
  let from = item.from;
  for (const clash of clashes) {
    const [start, stop] = [Math.max(from, clash.from), Math.min(end, clash.to ?? now)];
    if (stop <= start) continue;
    if (start > from) parts.push({ from, to: start });
    parts.push({ from: start, to: stop, clash: true });
    from = stop;
  }
  return end > from ? [...parts, { from, to: end }] : parts;
}

// Draws a timeline into an element. Rows are kept from drawing to drawing.
export class Lanes {
  constructor(element, labels) {
    this.element = element;
    this.labels = labels;  // fault -> words
    this.rows = new Map();
  }

  // Shows the last `longest` seconds, or less if less has happened.
  draw(timeline, now, longest) {
    const span = Math.min(longest, Math.max(SHORTEST_SPAN, now - timeline.first()));
    const view = { now, from: now - span, span };
    const names = [...timeline.replicas].filter(([, lane]) => (lane.to ?? now) > view.from);
    const wanted = ["election", ...names.map(([name]) => `replica ${name}`), "axis"];
    for (const [key, row] of this.rows) {
      if (!wanted.includes(key)) { row.element.remove(); this.rows.delete(key); }
    }
    wanted.forEach((key, place) => this.row(key, place));
    this.election(this.rows.get("election"), timeline, view);
    for (const [name, lane] of names) {
      this.replica(this.rows.get(`replica ${name}`), name, lane, timeline, view);
    }
    this.axis(this.rows.get("axis"), view);
  }

  row(key, place) {
    let row = this.rows.get(key);
    if (!row) {
      const element = document.createElement("div");
      element.className = `lane ${key === "election" ? "election-lane" : key === "axis" ? "axis" : ""}`;
      const name = document.createElement("div");
      name.className = "lane-name";
      const note = document.createElement("small");
      const label = document.createElement("span");
      name.append(label, note);
      const svg = document.createElementNS(SVG, "svg");
      element.append(name, svg);
      row = { element, label, note, svg };
      this.rows.set(key, row);
    }
    const there = this.element.children[place];
    if (there !== row.element) this.element.insertBefore(row.element, there ?? null);
  }

  election(row, timeline, view) {
    const pen = new Pen(row.svg, view);
    let tone = 0;
    timeline.elections.forEach((item, place) => {
      if (place && item.leader !== timeline.elections[place - 1].leader) tone = 1 - tone;
      const kind = item.leader ? (tone ? "elected-b" : "elected-a") : "no-leader";
      const on = item.leader ? "on-elected" : "on-no-leader";
      pen.segment(item, kind, item.leader ?? "no leader", on);
    });
    this.flags(pen, timeline, null);
    pen.done();
    write(row.label, "Elected leader");
    write(row.note, "");
  }

  replica(row, name, lane, timeline, view) {
    const pen = new Pen(row.svg, view);
    const disagreements = timeline.disagreements.filter((item) => item.replicas.includes(name));
    for (const item of lane.views) {
      const clashes = item.state === "leader" ? disagreements : [];
      for (const part of split(item, clashes, view.now)) {
        if (part.clash) pen.segment(part, "conflict", "⚠ disagrees", "on-conflict");
        else pen.segment(part, item.state, WORDS[item.state] ?? "", `on-${item.state}`);
      }
    }
    if (!lane.views.length) pen.text(lane.from, "no reports", "on-unknown", lane.to);
    pen.edge(lane.from, "born");
    if (lane.to !== null) { pen.edge(lane.to, "end"); pen.text(lane.to, "gone", "on-unknown"); }
    this.flags(pen, timeline, name);
    pen.done();
    const state = lane.to !== null ? "gone" : lane.views.at(-1)?.state ?? "no reports";
    const clash = disagreements.some((item) => item.to === null);
    write(row.label, name);
    write(row.note, clash ? `⚠ ${state}, disagrees` : state);
    row.note.classList.toggle("bad", clash);
  }

  // A fault of one replica is named in its lane, one of all replicas in the first lane.
  flags(pen, timeline, name) {
    const faults = [...timeline.faults.values()];
    if (name) for (const item of faults.filter((one) => one.replica === null)) pen.line(item);
    const own = faults.filter((one) => one.replica === name);
    pen.bars(own.map((item) => ({ ...item, words: this.labels.get(item.fault) ?? item.fault })));
  }

  axis(row, view) {
    const pen = new Pen(row.svg, view);
    const step = STEPS.find((seconds) => pen.width * seconds / view.span >= 80) ?? STEPS.at(-1);  // px
    for (let back = 0; back <= view.span; back += step) {
      const words = back === 0 ? "now" : step < 60 ? `−${back} s` : `−${back / 60} min`;
      const x = pen.width * (1 - back / view.span);
      const anchor = back === 0 ? "end" : x < 25 ? "start" : "middle";
      pen.add("text", { x, y: 13, "text-anchor": anchor, class: "tick" }, words);
    }
    pen.done();
  }
}

// Collects the shapes of one lane and shows them together.
class Pen {
  constructor(svg, view) {
    this.svg = svg;
    this.view = view;
    this.width = svg.clientWidth || 600;
    this.height = (svg.clientHeight || 46) - STRIP;
    this.shapes = [];
  }

  x(t) {
    const part = (t - this.view.from) / this.view.span;
    return Math.round(Math.min(1, Math.max(0, part)) * this.width * 10) / 10;
  }

  add(tag, attributes, text) {
    const shape = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    if (text) shape.textContent = text;
    this.shapes.push(shape);
  }

  segment(item, kind, words, on) {
    const to = item.to ?? this.view.now;
    if (to < this.view.from || !kind) return;
    const x = this.x(item.from);
    const width = Math.max(1.5, this.x(to) - x);
    this.add("rect", { x, y: 0, width, height: this.height, class: `seg ${kind}` });
    if (width > words.length * 7.6 + 14) {
      this.add("text", { x: x + 8, y: this.height / 2 + 4, class: on }, words);
    }
  }

  text(t, words, on, to = null) {
    const x = this.x(t) + 8;
    const end = to === null ? this.width : this.x(to);
    if (end - x > words.length * 7) this.add("text", { x, y: this.height / 2 + 4, class: on }, words);
  }

  edge(t, kind) {
    if (t < this.view.from) return;
    const x = this.x(t);
    this.add("line", { x1: x, x2: x, y1: 0, y2: this.height, class: kind });
  }

  line(item) {  // a thin line above the bars
    const { x, width } = this.extent(item);
    if (width) this.add("rect", { x, y: this.height + 2, width, height: 3, rx: 2, class: "fault-bar" });
  }

  // Bars with their names. A name goes inside its bar, to the left or to the right, wherever
  // it overlaps nothing; if there is no room, the list of events still has it.
  bars(items) {
    const bars = items.map((item) => ({ ...this.extent(item), words: item.words })).filter((bar) => bar.width);
    const y = this.height + 7;
    for (const { x, width } of bars) this.add("rect", { x, y, width, height: 13, rx: 2, class: "fault-bar" });
    const names = [];
    for (const bar of bars.reverse()) {  // the newest first
      const others = bars.filter((other) => other !== bar).map(({ x, width }) => ({ from: x, to: x + width }));
      const name = this.places(bar).find((place) =>
        !overlaps(place, names) && (place.style === "flag" || !overlaps(place, others)));
      if (!name) continue;
      names.push(name);
      this.add("text", { x: name.from + 4, y: y + 10, class: name.style }, bar.words);
    }
  }

  places({ x, width, words }) {
    const room = words.length * 6.4 + 11;
    const places = [
      { from: x - room, to: x, style: "flag beside" },
      { from: x + width, to: x + width + room, style: "flag beside" },
    ];
    if (width > room) places.unshift({ from: x, to: x + room, style: "flag" });
    return places.filter((place) => place.from >= 0 && place.to <= this.width);
  }

  extent(item) {  // no width if it is over before the time span
    const to = item.to ?? this.view.now;
    const x = this.x(item.from);
    return { x, width: to < this.view.from ? 0 : Math.max(3, this.x(to) - x) };
  }

  done() {
    this.svg.replaceChildren(...this.shapes);
  }
}

function overlaps(place, others) {
  return others.some((other) => other.from < place.to && place.from < other.to);
}

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

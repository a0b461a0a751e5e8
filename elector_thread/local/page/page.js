// The page of the local elector: listens to /admin/events, shows it, and sends what is asked.
// Elements are changed in place, never rebuilt, so that the keyboard's focus stays where it is.

import { Lanes, Record, write } from "/ui/lanes.js";

const token = new URLSearchParams(location.search).get("token") ?? "";
const $ = (id) => document.getElementById(id);
const LONGEST_SPAN = 600;
const LOG_LINES = 200;

const record = new Record();
const labels = new Map();
const lanes = new Lanes($("lanes"), labels);
const rows = new Map();   // replica -> its row in the table
const marks = new Map();  // fault id -> its line in the list of faults
let state = null;
let clock = null;         // the server's seconds minus ours
let shownBefore = 0;      // the newest entry that is shown

// --- talking to the local elector ---------------------------------------------------

async function send(what, given) {
  let problem = "";
  try {
    const response = await fetch(`/admin/${what}`, {
      method: "POST",
      headers: { "X-Elector-Token": token, "Content-Type": "application/json" },
      body: JSON.stringify(given),
    });
    if (!response.ok) problem = (await response.json()).error ?? `HTTP ${response.status}`;
  } catch {
    problem = "the local elector does not answer";
  }
  $("problem").hidden = !problem;
  write($("problem"), problem);
}

function listen() {
  const source = new EventSource(`/admin/events?token=${encodeURIComponent(token)}`);
  source.addEventListener("open", () => link("live", "live"));
  source.addEventListener("error", () => link("lost", "lost, trying again"));
  source.addEventListener("record", (event) => take(JSON.parse(event.data)));
  source.addEventListener("state", (event) => show(JSON.parse(event.data)));
}

function link(kind, words) {
  $("link").dataset.state = kind;
  write($("link"), words);
}

function take(entries) {
  const fresh = entries.filter((entry) => entry.n > shownBefore);
  for (const entry of fresh) {
    record.add(entry);
    shownBefore = entry.n;
  }
  $("log").prepend(...fresh.map(line).filter(Boolean).reverse());
  while ($("log").children.length > LOG_LINES) $("log").lastChild.remove();
  // Only what comes from now on is read out.
  requestAnimationFrame(() => { $("log").setAttribute("role", "log"); $("log").setAttribute("aria-live", "polite"); });
}

// --- the record in words ------------------------------------------------------------

function line(entry) {
  const [words, kind] = inWords(entry);
  if (!words) return null;
  const item = document.createElement("li");
  item.className = kind ?? "";
  const time = document.createElement("time");
  time.textContent = duration(entry.t);
  const text = document.createElement("span");
  text.textContent = words;
  item.append(time, text);
  return item;
}

function inWords({ what, replica, leader, state: says, text, fault, seconds }) {
  const where = replica ?? "everywhere";
  const name = labels.get(fault) ?? fault;
  switch (what) {
    case "truth": return [leader ? `${leader} is elected` : "Nobody leads", "truth-line"];
    case "joined": return [`${replica} started`];
    case "gone": return [`${replica} is gone`];
    case "view": return [says === "silent" ? `${replica} is silent` : `${replica} says: ${says}${says === "follower" ? ` of ${leader}` : ""}`];
    case "fault": return [`Fault: ${name}, ${where}${seconds ? `, for ${seconds} s` : ""}`, "mark"];
    case "cleared": return [`Over: ${name}, ${where}`, "mark"];
    case "discord": return text ? [`⚠ Disagreement: ${text}`, "bad"] : ["All agree again"];
    default: return [""];
  }
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

// --- the state ----------------------------------------------------------------------

function show(fresh) {
  state = fresh;
  clock = state.now - performance.now() / 1000;
  const living = state.replicas.filter((replica) => replica.alive);
  write($("leader"), state.leader ?? "nobody");
  $("leader").toggleAttribute("data-none", !state.leader);
  document.title = `${state.discord ? "⚠ " : ""}${state.leader ?? "nobody"} leads · local elector`;
  write($("living"), String(living.length));
  write($("streams"), String(state.streams));
  write($("fault-count"), String(state.faults.length));
  $("discord").hidden = !state.discord;
  write($("discord"), state.discord?.text ?? "");
  write($("plain-url"), state.plain.get_url);
  $("nobody").hidden = state.replicas.length > 0;
  $("table").hidden = state.replicas.length === 0;
  showReplicas(state.replicas);
  showTargets(living.map((replica) => replica.name));
  showFaults(state.faults);
  for (const button of document.querySelectorAll("#kinds button[data-process]")) button.disabled = !living.length;
}

function showReplicas(replicas) {
  const names = new Set(replicas.map((replica) => replica.name));
  for (const [name, row] of rows) if (!names.has(name)) { row.remove(); rows.delete(name); }
  for (const replica of replicas) {
    const row = rows.get(replica.name) ?? newRow(replica.name);
    const says = row.querySelector(".says");
    row.classList.toggle("gone", !replica.alive);
    says.dataset.state = replica.state ?? "";
    const clash = replica.alive && (state.discord?.replicas.includes(replica.name) ?? false);
    says.toggleAttribute("data-conflict", clash);
    const more = [replica.frozen && "frozen", replica.isolated && "isolated", clash && "⚠ disagrees"].filter(Boolean);
    write(says, [replica.alive ? replica.state ?? "does not report" : "gone", ...more].join(", "));
    write(row.querySelector(".leads"), replica.says_leader ?? "–");
    write(row.querySelector(".age"), replica.last_report_age === null || !replica.alive ? "–" : `${replica.last_report_age.toFixed(1)} s ago`);
    write(row.querySelector(".gets"), String(replica.gets));
    write(row.querySelector(".open"), String(replica.streams));
    for (const button of row.querySelectorAll("button")) button.disabled = !replica.alive;
  }
}

function newRow(name) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  row.append(head);
  const cells = { says: "Says", leads: "Takes for leader", age: "Last report", gets: "GETs", open: "Streams", acts: "" };
  for (const [kind, label] of Object.entries(cells)) {
    const cell = document.createElement("td");
    cell.className = kind;
    if (label) cell.dataset.label = label;
    row.append(cell);
  }
  const acts = row.querySelector(".acts");
  acts.append(
    button("Elect", `Elect ${name}`, () => send("elect", { name })),
    button("Kill", `Kill ${name}`, () => send("fault", { kind: "kill", replica: name }), "danger"),
  );
  $("table").tBodies[0].append(row);
  rows.set(name, row);
  return row;
}

function button(words, label, act, kind = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = words;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function showTargets(names) {
  const select = $("target");
  for (const option of [...select.options].slice(1)) if (!names.includes(option.value)) option.remove();
  const there = [...select.options].map((option) => option.value);
  for (const name of names) if (!there.includes(name)) select.add(new Option(name, name));
}

function showFaults(faults) {
  const ids = new Set(faults.map((fault) => fault.id));
  for (const [id, item] of marks) if (!ids.has(id)) { item.remove(); marks.delete(id); }
  for (const fault of faults) {
    const item = marks.get(fault.id) ?? newMark(fault);
    const left = fault.remaining === null ? "until ended" : `${Math.ceil(fault.remaining)} s left`;
    write(item.firstChild, `${fault.label} – ${fault.replica ?? "everywhere"} – ${left}`);
  }
  $("no-faults").hidden = faults.length > 0;
  $("clear").hidden = faults.length === 0;
}

function newMark(fault) {
  const item = document.createElement("li");
  const where = fault.replica ?? "everywhere";
  const act = () => send("clear", { kind: fault.kind, replica: fault.replica });
  item.append(document.createElement("span"), button("End", `End ${fault.label}, ${where}`, act));
  $("faults").append(item);
  marks.set(fault.id, item);
  return item;
}

// --- the controls -------------------------------------------------------------------

function offer(kinds) {
  const groups = new Map();
  for (const kind of kinds) {
    labels.set(kind.kind, kind.label);
    if (!groups.has(kind.group)) groups.set(kind.group, newGroup(kind.group));
    const made = document.createElement("button");
    made.type = "button";
    made.dataset.kind = kind.kind;
    if (kind.group === "Replica") made.dataset.process = "";
    const effect = document.createElement("small");
    effect.textContent = kind.effect;
    made.append(kind.label, effect);
    made.addEventListener("click", () => make(kind));
    groups.get(kind.group).append(made);
  }
}

function newGroup(name) {
  const group = document.createElement("section");
  const title = document.createElement("h3");
  title.textContent = name;
  group.append(title);
  $("kinds").append(group);
  return group;
}

function make(kind) {
  const seconds = kind.takes_seconds && $("seconds").value ? Number($("seconds").value) : null;
  send("fault", { kind: kind.kind, replica: $("target").value || null, seconds });
}

$("elect").addEventListener("submit", (event) => {
  event.preventDefault();
  send("elect", { name: $("name").value.trim() });
});
$("clear").addEventListener("click", () => send("clear", {}));

// --- time ---------------------------------------------------------------------------

function draw() {
  if (clock === null || document.hidden) return;
  const now = clock + performance.now() / 1000;
  record.forget(now - LONGEST_SPAN);
  const span = Number(document.querySelector("input[name=span]:checked").value);
  lanes.draw(record, now, span);
  const since = record.since();
  write($("tenure"), since === null ? "–" : duration(Math.max(0, now - since)));
}

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
setInterval(draw, calm ? 1000 : 125);
for (const choice of document.querySelectorAll("input[name=span]")) choice.addEventListener("change", draw);

const response = await fetch("/admin/kinds", { headers: { "X-Elector-Token": token } });
offer(await response.json());
listen();

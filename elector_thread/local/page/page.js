// The page of the local elector: shows the events of /admin/events and sends commands.
// Elements are updated in place, so that the keyboard focus stays where it is.

import { Lanes, Timeline, write } from "/ui/lanes.js";

const token = new URLSearchParams(location.search).get("token") ?? "";
const $ = (id) => document.getElementById(id);
const LONGEST_SPAN = 600;
const LOG_LINES = 200;

const timeline = new Timeline();
const labels = new Map();  // kind of fault -> its label
const effects = new Map();  // kind of fault -> its effect
const lanes = new Lanes($("lanes"), labels);
const rows = new Map();   // replica -> its row in the table
const marks = new Map();  // fault id -> its line in the list of faults
let state = null;
let clock = null;         // seconds of the server minus seconds of the browser
let newest = 0;           // number of the newest entry that is shown

// --- requests and events ------------------------------------------------------------

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
    problem = "No answer from the local elector.";
  }
  $("problem").hidden = !problem;
  write($("problem"), problem);
}

function listen() {
  const source = new EventSource(`/admin/events?token=${encodeURIComponent(token)}`);
  source.addEventListener("open", () => showConnection("live", "live"));
  source.addEventListener("error", () => {
    const refused = source.readyState === EventSource.CLOSED;  // another local elector, another token
    showConnection("lost", refused ? "stopped; open the new URL" : "disconnected; retrying");
  });
  source.addEventListener("record", (event) => take(JSON.parse(event.data)));
  source.addEventListener("state", (event) => show(JSON.parse(event.data)));
}

function showConnection(kind, words) {
  $("connection").dataset.state = kind;
  write($("connection"), words);
}

function take(entries) {
  const fresh = entries.filter((entry) => entry.n > newest);
  for (const entry of fresh) {
    timeline.add(entry);
    newest = entry.n;
  }
  $("log").prepend(...fresh.map(line).filter(Boolean).reverse());
  while ($("log").children.length > LOG_LINES) $("log").lastChild.remove();
  // A screen reader reads new entries only.
  requestAnimationFrame(() => { $("log").setAttribute("role", "log"); $("log").setAttribute("aria-live", "polite"); });
}

// --- events in words ----------------------------------------------------------------

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

function inWords({ what, replica, leader, state: says, text, fault, seconds, once }) {
  const target = replica ?? "all";
  const name = labels.get(fault) ?? fault;
  switch (what) {
    case "truth": return [leader ? `${leader} was elected` : "No leader", "election"];
    case "joined": return [`${replica} started`];
    case "gone": return [`${replica} is gone`];
    case "view": return [says === "silent" ? `${replica} is silent` : `${replica} reports ${says}${says === "follower" ? ` (leader: ${leader})` : ""}`];
    case "fault": return [`${once ? "Fault" : "Fault began"}: ${name}, ${target}${seconds ? `, for ${seconds} s` : ""}`, "mark"];
    case "cleared": return [`Fault ended: ${name}, ${target}`, "mark"];
    case "disagreement": return text ? [`⚠ Disagreement: ${text}`, "bad"] : ["The disagreement is over"];
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
  write($("leader"), state.leader ?? "none");
  $("leader").toggleAttribute("data-none", !state.leader);
  document.title = `${state.disagreement ? "⚠ " : ""}${state.leader ?? "no leader"} · local elector`;
  write($("living"), String(living.length));
  write($("streams"), String(state.streams));
  write($("fault-count"), String(state.faults.length));
  $("disagreement").hidden = !state.disagreement;
  write($("disagreement"), state.disagreement?.text ?? "");
  write($("plain-url"), state.plain.get_url);
  $("no-replicas").hidden = state.replicas.length > 0;
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
    const clash = replica.alive && (state.disagreement?.replicas.includes(replica.name) ?? false);
    says.toggleAttribute("data-conflict", clash);
    const more = [replica.frozen && "frozen", replica.isolated && "isolated", replica.lease_gets > 0 && "reads the Lease", clash && "⚠ disagrees"].filter(Boolean);
    write(says, [replica.alive ? replica.state ?? "no reports" : "gone", ...more].join(", "));
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
  const cells = { says: "State", leads: "Leader it knows", age: "Last report", gets: "GETs", open: "Streams", acts: "" };
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
    const left = fault.remaining === null ? "until you end it" : `${Math.ceil(fault.remaining)} s left`;
    write(item.querySelector(".what"), `${fault.label} – ${fault.replica ?? "all"} – ${left}`);
  }
  $("no-faults").hidden = faults.length > 0;
  $("clear").hidden = faults.length === 0;
}

function newMark(fault) {
  const item = document.createElement("li");
  const target = fault.replica ?? "all";
  const act = () => send("clear", { kind: fault.kind, replica: fault.replica });
  const [text, what, effect] = ["div", "span", "small"].map((tag) => document.createElement(tag));
  what.className = "what";
  effect.textContent = effects.get(fault.kind);
  text.append(what, effect);
  item.append(text, button("End", `End ${fault.label}, ${target}`, act));
  $("faults").append(item);
  marks.set(fault.id, item);
  return item;
}

// --- the controls -------------------------------------------------------------------

function offer(kinds) {
  const groups = new Map();
  for (const kind of kinds) {
    labels.set(kind.kind, kind.label);
    effects.set(kind.kind, kind.effect);
    if (!groups.has(kind.group)) groups.set(kind.group, newGroup(kind.group));
    const made = document.createElement("button");
    made.type = "button";
    made.dataset.kind = kind.kind;
    if (kind.group === "Replica") made.dataset.process = "";
    const effect = document.createElement("small");
    effect.textContent = kind.effect;
    made.append(kind.label, effect);
    made.addEventListener("click", () => inject(kind));
    groups.get(kind.group).append(made);
  }
}

function newGroup(name) {
  const group = document.createElement("section");
  group.dataset.group = name;
  const title = document.createElement("h3");
  title.textContent = name;
  group.append(title);
  $("kinds").append(group);
  return group;
}

async function inject(kind) {
  const onlyOne = kind.needs_replica || !kind.takes_seconds;  // a kill cannot be undone
  const target = $("target").value || (onlyOne ? await chooseReplica(kind.label) : null);
  if (onlyOne && !target) return;
  const seconds = kind.takes_seconds && $("seconds").value ? Number($("seconds").value) : null;
  send("fault", { kind: kind.kind, replica: target, seconds });
}

// Asks for one live replica; null if the dialog is cancelled.
function chooseReplica(action) {
  const dialog = $("choose");
  const names = state.replicas.filter((replica) => replica.alive).map((replica) => replica.name);
  $("victim").replaceChildren(new Option("choose one", ""), ...names.map((name) => new Option(name, name)));
  write($("choose-title"), action);
  write($("confirm"), action);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = () => resolve(dialog.returnValue === "confirm" ? $("victim").value : null);
    dialog.addEventListener("close", answer, { once: true });
  });
}

$("elect").addEventListener("submit", (event) => {
  event.preventDefault();
  send("elect", { name: $("name").value.trim() });
});
$("clear").addEventListener("click", () => send("clear", {}));

// --- time ---------------------------------------------------------------------------

function draw() {
  if (clock === null || document.hidden || $("connection").dataset.state === "lost") return;
  const now = clock + performance.now() / 1000;
  timeline.forget(now - LONGEST_SPAN);
  const span = Number(document.querySelector("input[name=span]:checked").value);
  lanes.draw(timeline, now, span);
  const since = timeline.leaderSince();
  write($("tenure"), since === null ? "–" : duration(Math.max(0, now - since)));
}

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
setInterval(draw, calm ? 1000 : 125);
for (const choice of document.querySelectorAll("input[name=span]")) choice.addEventListener("change", draw);

const response = await fetch("/admin/kinds", { headers: { "X-Elector-Token": token } });
offer(await response.json());
listen();

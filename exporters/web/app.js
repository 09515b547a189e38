"use strict";
// The live page: asks for a list, posts what is clicked, waits until the session shows it, asks again.

const $ = (id) => document.getElementById(id);
const state = { user: "", query: "", impression: null, places: new Map(), turn: 0 };

function uid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return "page-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  const key = localStorage.getItem("api-key");
  if (key) headers["X-API-Key"] = key;
  const response = await fetch(path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  const document_ = await response.json();
  if (response.status === 401 && askForKey()) return call(path, body);
  if (!response.ok) throw new Error(document_.detail || response.statusText);
  return document_;
}

function askForKey() {
  const key = window.prompt("This server asks for an API key");
  if (key) localStorage.setItem("api-key", key);
  return Boolean(key);
}

// ------------------------------------------------------------------ the list

async function refresh(note = "") {
  const turn = ++state.turn;
  const ask = { user_id: state.user, count: 12, explain: true };
  const answer = state.query ? await call("/search", { ...ask, query: state.query }) : await call("/recommend", ask);
  if (turn !== state.turn) return; // a newer list is on its way
  state.impression = answer.impression_id;
  $("list-title").textContent = state.query ? `“${state.query}”, ranked for ${state.user}` : `For ${state.user}`;
  const total = answer.timings_ms.total;
  $("list-note").textContent = [note, answer.fallback ? "fallback list" : "", `ranked in ${total.toFixed(1)} ms`].filter(Boolean).join(" · ");
  draw(answer);
  drawIntents(answer.intents);
  if (!state.query) await compare();
}

function draw(answer) {
  const list = $("list");
  const before = new Map(Array.from(list.children, (card) => [card.dataset.item, card.getBoundingClientRect().top]));
  const cards = answer.items.map((item, index) => cardOf(item, index));
  list.replaceChildren(...cards);
  cards.forEach((card) => slide(card, before.get(card.dataset.item)));
  state.places = new Map(answer.items.map((item, index) => [item.item_id, index]));
  $("empty").hidden = answer.items.length > 0;
  $("empty").textContent = answer.reason ? `Nothing to show: ${answer.reason.replaceAll("_", " ")}.` : "Nothing to show.";
}

function slide(card, from) {
  if (from === undefined || window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const delta = from - card.getBoundingClientRect().top;
  if (delta) card.animate([{ transform: `translateY(${delta}px)` }, { transform: "none" }], { duration: 350, easing: "ease-out" });
}

function movement(item, index) {
  const old = state.places.get(item.item_id);
  if (state.places.size === 0 || old === index) return ["", ""];
  if (old === undefined) return ["new", "up"];
  return old > index ? [`▲ ${old - index}`, "up"] : [`▼ ${index - old}`, "down"];
}

function cardOf(item, index) {
  const [text, kind] = movement(item, index);
  const name = item.title || `Item ${item.item_id}`;
  return element("li", { class: `card ${text === "new" ? "fresh" : ""}`, "data-item": item.item_id },
    element("div", { class: "place" }, element("b", {}, String(index + 1)), element("span", { class: `move ${kind}` }, text)),
    element("div", {},
      element("button", { class: "title", onclick: () => act(item, "click") }, name),
      element("span", { class: "tags" }, (item.categories || []).join(" · ")),
      element("ul", { class: "why" }, ...(item.why || []).slice(0, 3).map(whyLine))),
    element("div", { class: "acts" },
      element("button", { class: "quiet", onclick: () => act(item, "like"), "aria-label": `Like ${name}` }, "Like"),
      element("button", { class: "quiet", onclick: () => act(item, "skip"), "aria-label": `Skip ${name}` }, "Skip")));
}

function whyLine(why) {
  const bar = element("i");
  bar.style.width = `${Math.round(4 + 46 * why.share)}px`;
  return element("li", { title: `contribution ${why.contribution}` }, bar, why.text);
}

async function act(item, action) {
  const event = {
    event_id: uid(), type: "interaction", user_id: state.user, item_id: item.item_id, action,
    surface: state.query ? "search" : "home", event_time_ms: Date.now(),
  };
  if (state.impression) event.impression_id = state.impression;
  if (state.query) event.query = state.query;
  const started = performance.now();
  await guarded(async () => {
    await call("/events", event);
    const session = await waitFor(event.event_id);
    drawSession(session);
    const waited = Math.round(performance.now() - started);
    await refresh(session.visible ? `your ${action} was in the session after ${waited} ms` : `your ${action} is not in the session yet`);
  });
}

const waitFor = (eventId) =>
  call(`/users/${encodeURIComponent(state.user)}/session?wait_for_event_id=${encodeURIComponent(eventId)}&timeout_ms=5000`);

// ------------------------------------------------------------------ the side

function drawSession(session) {
  const events = session.history.slice(-12).reverse();
  $("session").replaceChildren(...events.map((event) =>
    element("li", {}, event.title || `Item ${event.item_id}`, element("small", {}, ` ${event.action}`))));
  $("session-empty").hidden = events.length > 0;
}

const count = (value) => (value || 0).toLocaleString("en");
const pair = (quantiles, high) => (quantiles.p50 === null ? "–" : `${milliseconds(quantiles.p50)} / ${milliseconds(quantiles[high])}`);
const milliseconds = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

function drawStats(stats) {
  const rows = [
    ["Events at the door", count(stats.counts.events_accepted)],
    ["Turned away", count(stats.counts.events_rejected)],
    ["Lists ranked", count(stats.counts.rankings)],
    ["Fallback lists", count(stats.counts.fallbacks)],
    ["Items known", count(stats.items)],
    ["Rows updated", count(stats.counts.rows_applied)],
    ["To the session, p50 / p95", pair(stats.session_freshness_ms, "p95")],
    ["To the weights, p50 / p95", pair(stats.weights_freshness_ms, "p95")],
    ["Ranking, p50 / p99", pair(stats.ranking_ms, "p99")],
    ["Model in place for", stats.model_version ? `${Math.round(stats.model_age_seconds)} s` : "–"],
  ];
  $("numbers").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  $("status-text").textContent = stats.model_version ? `model ${stats.model_version}` : "no model yet: counting sources serve";
  $("status").classList.toggle("ready", Boolean(stats.model_version));
  drawQuality(stats.quality);
  drawUsers(stats.recent_users);
}

function drawQuality(quality) {
  const rates = Object.entries(quality).filter(([name, value]) => /hr@10$/.test(name) && typeof value === "number" && value !== null);
  const scale = Math.max(0.01, ...rates.map(([, value]) => value));
  const rows = rates.map(([name, value]) => {
    const label = name.replace(/[_./]?hr@10$/, "").replaceAll("_", " ");
    return element("div", { class: `quality-row ${label ? "" : "served"}` },
      element("span", {}, label || "served here"), element("span", {}, value.toFixed(4)),
      element("progress", { max: scale, value, "aria-label": label || "served here" }));
  });
  $("quality").replaceChildren(...(rows.length ? rows : [element("p", { class: "muted" }, "The trainer has announced no figures yet.")]));
}

// ------------------------------------------------------------------ over time

const INKS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const RATE = /[_./]?hr@10$/;

function linesOf(quality) {
  const models = [...new Set(quality.map((point) => point.model))];
  const lines = new Map();
  for (const point of quality) {
    for (const [metric, value] of Object.entries(point)) {
      if (!RATE.test(metric) || typeof value !== "number") continue;
      const what = metric.replace(RATE, "").replaceAll("_", " ");
      if (what && point.model !== models[0]) continue; // baselines are the same for every student
      const name = what || (models.length > 1 ? point.model : "served here");
      if (!lines.has(name)) lines.set(name, { name, kind: what ? "baseline" : "served", points: [] });
      lines.get(name).points.push([point.time_ms, value]);
    }
  }
  const sorted = [...lines.values()].sort((a, b) => a.kind.localeCompare(b.kind) * -1);
  return sorted.slice(0, INKS.length).map((line, index) => ({ ...line, ink: INKS[index] }));
}

function marksOf(timeline) {
  const versions = timeline.versions.map((mark) => ({
    time_ms: mark.time_ms, kind: mark.kind,
    text: [mark.model, mark.version, mark.kind.replaceAll("_", " "), mark.reason].filter(Boolean).join(" · "),
  }));
  const drift = timeline.drift.map((mark) => ({ time_ms: mark.time_ms, kind: mark.kind, text: [mark.kind, mark.what, mark.state].filter(Boolean).join(" · ") }));
  return [...versions, ...drift].sort((a, b) => a.time_ms - b.time_ms);
}

function drawTimeline(timeline) {
  const lines = linesOf(timeline.quality);
  const marks = marksOf(timeline);
  const told = JSON.stringify([timeline, $("chart").clientWidth]);
  if (told === state.timeline) return;
  state.timeline = told;
  if (lines.length) drawChart($("chart"), lines, marks);
  else $("chart").replaceChildren(element("p", { class: "muted" }, "The trainer has announced no figures yet."));
  const news = marks.filter((mark) => mark.kind !== "published").slice(-4);
  const latest = marks.filter((mark) => mark.kind === "published").slice(-2);
  $("marks").replaceChildren(...[...news, ...latest].sort((a, b) => b.time_ms - a.time_ms).map((mark) =>
    element("li", { class: mark.kind }, element("time", {}, clock(mark.time_ms, true)), ` ${mark.text}`)));
}

// ------------------------------------------------------------------ side by side

function drawIntents(intents) {
  const names = { actions: "Action", categories: "Kind", ages: "Age of the item", familiarity: "Again or new" };
  const known = { again: "something again", kin: "of the same kind", new: "something new" };
  const rows = Object.entries(intents || {}).flatMap(([name, answers]) => [
    element("dt", {}, names[name] || name),
    element("dd", { "data-intent": name }, ...answers.map((answer) => chance(known[answer.answer] || answer.answer, answer.probability))),
  ]);
  $("intents").replaceChildren(...rows);
  $("intents-empty").hidden = rows.length > 0;
}

function chance(text, probability) {
  const bar = element("i");
  bar.style.width = `${Math.round(2 + 60 * probability)}px`;
  return element("span", { class: "chance", title: probability.toFixed(3) }, bar, text);
}

function columnOf(kind, name, note, items, shown) {
  const entries = items.map((item) =>
    element("li", { class: shown.has(item.item_id) ? "shared" : "" }, item.title || `Item ${item.item_id}`));
  return element("section", { class: `column ${kind}`, "data-column": name },
    element("h3", {}, name.replaceAll("_", " ")), element("p", { class: "muted" }, note),
    entries.length ? element("ol", {}, ...entries) : element("p", { class: "muted" }, "says nothing here"));
}

async function compare() {
  const user = state.user;
  const found = await call(`/users/${encodeURIComponent(user)}/lists?count=8`);
  if (user !== state.user) return;
  const answering = found.students.find((student) => student.answers);
  const shown = new Set((answering ? answering.items : []).map((item) => item.item_id));
  const students = found.students.map((student) =>
    columnOf("student", student.name, student.answers ? "answers this user" : student.model_version || "no version yet", student.items, shown));
  const sources = found.sources.map((source) =>
    columnOf("source", source.name, "source alone", source.items, shown));
  $("compare").replaceChildren(...students, ...sources);
}

function drawUsers(users) {
  $("recent").replaceChildren(...users.slice(0, 12).map((user) =>
    element("button", { "aria-pressed": String(user === state.user), onclick: () => become(user) }, user)));
}

// ------------------------------------------------------------------ who, and when

async function become(user) {
  Object.assign(state, { user, query: "", places: new Map() });
  $("user").value = user;
  $("query").value = "";
  history.replaceState(null, "", `?user=${encodeURIComponent(user)}`);
  await guarded(async () => {
    drawSession(await call(`/users/${encodeURIComponent(user)}/session`));
    await refresh();
  });
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    $("list-note").textContent = `That did not work: ${error.message}`;
  }
}

async function poll() {
  try {
    drawStats(await call("/stats"));
    drawTimeline(await call("/timeline"));
  } catch (error) {
    $("status").classList.remove("ready");
    $("status-text").textContent = "the server does not answer";
  }
  window.setTimeout(poll, document.hidden ? 5000 : 1000);
}

$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  become($("user").value.trim());
});
$("new-user").addEventListener("click", () => become(`guest-${uid().slice(-5)}`));
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  Object.assign(state, { query: $("query").value.trim(), places: new Map() });
  guarded(() => refresh());
});
poll();
become(new URLSearchParams(location.search).get("user") || `guest-${uid().slice(-5)}`);

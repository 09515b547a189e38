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

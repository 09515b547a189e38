"use strict";
// Lines over time with marks on the time line, as SVG: one axis, hover for the values, no library.

const SVG = "http://www.w3.org/2000/svg";
const EDGE = { left: 44, right: 12, top: 10, bottom: 34 };

function drawing(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const clock = (timeMs, seconds = false) =>
  new Date(timeMs).toLocaleTimeString("en-GB", seconds ? {} : { hour: "2-digit", minute: "2-digit" });

function scales(series, marks, width, height) {
  const points = series.flatMap((line) => line.points);
  const times = [...points.map((point) => point[0]), ...marks.map((mark) => mark.time_ms)];
  const from = Math.min(...times);
  const span = Math.max(1, Math.max(...times) - from);
  const top = Math.max(0.01, ...points.map((point) => point[1])) * 1.08;
  const [wide, high] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
  return {
    from, span, top,
    x: (timeMs) => EDGE.left + (wide * (timeMs - from)) / span,
    y: (value) => EDGE.top + high * (1 - value / top),
    time: (x) => from + (span * (x - EDGE.left)) / wide,
  };
}

function axes(scale, width, height) {
  const group = drawing("g", { class: "axes" });
  for (const share of [0, 0.5, 1]) {
    const value = (scale.top / 1.08) * share;
    group.append(drawing("line", { x1: EDGE.left, x2: width - EDGE.right, y1: scale.y(value), y2: scale.y(value) }));
    group.append(drawing("text", { x: EDGE.left - 6, y: scale.y(value) + 4, "text-anchor": "end" }, value.toFixed(3)));
  }
  const ticks = width < 500 ? 2 : 4;
  for (let tick = 0; tick <= ticks; tick += 1) {
    const timeMs = scale.from + (scale.span * tick) / ticks;
    const anchor = tick === 0 ? "start" : tick === ticks ? "end" : "middle";
    group.append(drawing("text", { x: scale.x(timeMs), y: height - 4, "text-anchor": anchor }, clock(timeMs, scale.span < 600000)));
  }
  return group;
}

function markOf(mark, scale, height) {
  const x = scale.x(mark.time_ms);
  const low = height - EDGE.bottom;
  const group = drawing("g", { class: `mark ${mark.kind}` }, drawing("title", {}, `${clock(mark.time_ms, true)} ${mark.text}`));
  if (mark.kind === "published") group.append(drawing("line", { x1: x, x2: x, y1: low + 3, y2: low + 10 }));
  else group.append(drawing("line", { x1: x, x2: x, y1: EDGE.top, y2: low + 3 }), drawing("circle", { cx: x, cy: low + 7, r: 4 }));
  return group;
}

function lineOf(line, scale) {
  const path = line.points.map(([timeMs, value], index) => `${index ? "L" : "M"}${scale.x(timeMs).toFixed(1)} ${scale.y(value).toFixed(1)}`);
  const group = drawing("g", { class: `series ${line.kind}`, style: `--ink-of-line: var(${line.ink})` }, drawing("path", { d: path.join("") }));
  const [timeMs, value] = line.points[line.points.length - 1];
  group.append(drawing("circle", { cx: scale.x(timeMs), cy: scale.y(value), r: 3 }));
  return group;
}

function nearest(points, timeMs) {
  return points.reduce((best, point) => (Math.abs(point[0] - timeMs) < Math.abs(best[0] - timeMs) ? point : best));
}

function legendOf(series, timeMs) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const line of series) {
    const [, value] = timeMs === undefined ? line.points[line.points.length - 1] : nearest(line.points, timeMs);
    const entry = document.createElement("li");
    const dash = document.createElement("i");
    dash.style.background = `var(${line.ink})`;
    entry.className = line.kind;
    entry.append(dash, `${line.name} `, Object.assign(document.createElement("b"), { textContent: value.toFixed(4) }));
    list.append(entry);
  }
  return list;
}

// series: [{name, kind, ink, points: [[time_ms, value], ...]}], marks: [{time_ms, kind, text}]
function drawChart(place, series, marks) {
  const [width, height] = [Math.max(280, place.clientWidth), 220];
  const scale = scales(series, marks, width, height);
  const picture = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": series.map((line) => line.name).join(", ") });
  picture.append(axes(scale, width, height), ...marks.map((mark) => markOf(mark, scale, height)), ...series.map((line) => lineOf(line, scale)));
  const hair = drawing("line", { class: "hair", y1: EDGE.top, y2: height - EDGE.bottom, visibility: "hidden" });
  picture.append(hair);
  let legend = legendOf(series);
  const show = (timeMs) => {
    const next = legendOf(series, timeMs);
    legend.replaceWith(next);
    legend = next;
  };
  picture.addEventListener("pointermove", (event) => {
    const x = ((event.clientX - picture.getBoundingClientRect().left) * width) / picture.clientWidth;
    const timeMs = Math.min(scale.from + scale.span, Math.max(scale.from, scale.time(x)));
    for (const [name, value] of [["x1", scale.x(timeMs)], ["x2", scale.x(timeMs)], ["visibility", "visible"]]) hair.setAttribute(name, value);
    show(timeMs);
  });
  picture.addEventListener("pointerleave", () => {
    hair.setAttribute("visibility", "hidden");
    show();
  });
  place.replaceChildren(legend, picture);
}

"use strict";
// Draws /openapi.json: every route with its fields.

function element(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function typeOf(schema) {
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(typeOf).join(" or ");
  const limits = Object.entries(schema).filter(([name]) => /^(min|max|exclusive)/.test(name)).map(([name, value]) => `${name} ${value}`);
  const base = schema.type === "array" ? `list of ${typeOf(schema.items || {})}` : schema.type || "anything";
  return limits.length ? `${base} (${limits.join(", ")})` : base;
}

function row(name, required, schema, description) {
  const known = "default" in schema ? `default ${JSON.stringify(schema.default)}` : required ? "required" : "";
  return element("tr", "", element("td", "", element("code", "", name)), element("td", "", typeOf(schema)),
    element("td", "muted", [known, description].filter(Boolean).join(" · ")));
}

function fieldsOf(operation) {
  const rows = (operation.parameters || []).map((p) => row(`${p.name} (${p.in})`, p.required, p.schema || {}, p.description));
  const content = operation.requestBody?.content?.["application/json"]?.schema;
  for (const [name, schema] of Object.entries(content?.properties || {})) {
    rows.push(row(name, (content.required || []).includes(name), schema, schema.description));
  }
  return rows;
}

async function main() {
  const api = await (await fetch("/openapi.json")).json();
  const cards = Object.entries(api.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => {
      const fields = fieldsOf(operation);
      const table = fields.length ? [element("table", "fields", ...fields)] : [];
      return element("section", "panel route", element("h2", "", element("code", "", `${method.toUpperCase()} ${path}`)),
        element("p", "muted", operation.description || ""), ...table);
    }));
  document.getElementById("routes").replaceChildren(...cards);
}

main();

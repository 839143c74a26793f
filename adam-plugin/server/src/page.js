"use strict";
// One box, three columns. Text from the index is only ever set as text, never as markup.
const byId = (id) => document.getElementById(id);
const make = (name, text, kind) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
const number = (value, digits = 3) => (value === null || value === undefined ? "-" : Number(value).toFixed(digits));

// The snippet's text with its highlighted ranges marked. The server counts bytes of UTF-8, JavaScript does not.
function snippet(hit) {
  const paragraph = make("p");
  const bytes = new TextEncoder().encode(hit.snippet.text);
  const piece = (start, end) => new TextDecoder().decode(bytes.subarray(start, end));
  let at = 0;
  for (const [start, end] of hit.snippet.highlights) {
    if (start < at) continue;
    paragraph.append(piece(at, start), make("mark", piece(start, end)));
    at = end;
  }
  paragraph.append(piece(at));
  return paragraph;
}

// Why a hit is there: each arm's rank and score, and the share of the fused score that it gave.
function reasons(hit) {
  const why = make("div", undefined, "why");
  const fused = hit.arms.length > 1;
  if (fused) {
    const parts = hit.arms.map((arm) => Math.max(0, arm.weight * arm.normalised));
    const whole = parts.reduce((a, b) => a + b, 0) || 1;
    const bar = make("div", undefined, "bar");
    bar.setAttribute("aria-hidden", "true");
    hit.arms.forEach((arm, i) => {
      const part = make("i", undefined, arm.name);
      part.style.width = `${(100 * parts[i]) / whole}%`;
      bar.append(part);
    });
    why.append(bar, make("div", `score ${number(hit.score)}`));
  }
  for (const arm of hit.arms) {
    const line = make("div", undefined, arm.name);
    const place = arm.rank === null ? "not found by it" : `rank ${arm.rank}`;
    const counts = fused ? `, counts ${number(arm.normalised)} \u00d7 ${number(arm.weight, 2)}` : "";
    line.append(make("b", arm.name), ` ${place}, score ${number(arm.raw)}${counts}`);
    why.append(line);
  }
  if (hit.explanation) {
    const details = make("details");
    details.append(make("summary", "explain"), make("pre", tree(hit.explanation, 0)));
    why.append(details);
  }
  return why;
}

const tree = (node, depth) =>
  `${"  ".repeat(depth)}${number(node.value, 4)}  ${node.description}\n` +
  (node.details || []).map((child) => tree(child, depth + 1)).join("");

async function call(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem("key");
  if (key) headers.authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers });
  const answer = await response.json();
  if (!response.ok) {
    const fault = new Error(answer.error || response.statusText);
    fault.status = response.status;
    throw fault;
  }
  return answer;
}

// Asks for the key once where the server wants one, before the three columns would each ask.
async function unlock() {
  try {
    return await call("info");
  } catch (fault) {
    if (fault.status !== 401) throw fault;
    const given = prompt("This server asks for its API key");
    if (!given) throw fault;
    sessionStorage.setItem("key", given);
    try {
      return await call("info");
    } catch (again) {
      sessionStorage.removeItem("key");
      throw again;
    }
  }
}

// What else is known of a document, a line each.
function metadata(hit) {
  const entries = Object.entries(hit.metadata || {});
  if (entries.length === 0) return [];
  const said = ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  return [make("p", entries.map(said).join(" \u00b7 "), "metadata")];
}

// Which group a hit stands for, and how many documents are in it.
function group(hit) {
  if (!hit.group || hit.group.value === undefined) return [];
  return [make("p", `${asText(hit.group.value)}: ${counted(hit.group.documents, "document")}`, "metadata")];
}

// Values to choose from: how many documents have each. A chosen one is a filter of all three columns.
const chosen = new Map();
let names = [];
const asText = (value) => (typeof value === "string" ? value : String(value));
const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;

function facets(counts) {
  const rows = Object.entries(counts).map(([name, facet]) => {
    const row = make("div");
    row.append(make("span", `${name}:`));
    const values = facet.values.map(({ value, documents }) => [asText(value), documents]);
    const picked = chosen.get(name);
    if (picked !== undefined && !values.some(([text]) => text === picked)) values.push([picked, 0]);
    values.forEach(([text, documents]) => {
      const button = make("button", `${text} ${documents}`);
      button.type = "button";
      button.setAttribute("aria-pressed", String(picked === text));
      button.addEventListener("click", () => {
        if (chosen.get(name) === text) chosen.delete(name); else chosen.set(name, text);
        search();
      });
      row.append(button);
    });
    return row;
  });
  byId("facets").replaceChildren(...rows.filter((row) => row.children.length > 1));
  byId("facets").hidden = byId("facets").children.length === 0;
}

const PAGE = 10;
const latest = {};
// The hits from `offset` on; behind those that are shown, or in their place.
async function ask(mode, offset = 0) {
  const column = byId(mode);
  const list = column.querySelector("ol");
  const more = column.querySelector("button");
  const turn = (latest[mode] = (latest[mode] || 0) + 1);
  const request = { query: byId("query").value, mode, top: PAGE, offset, explain: true, snippets: true };
  if (mode === "bm25" && offset === 0) request.suggest = true;
  if (mode === "hybrid") {
    request.weight = Number(byId("weight").value);
    if (names.length > 0) request.facets = names.map((field) => ({ field, size: 8 }));
  }
  if (byId("group").value) request.group = { field: byId("group").value };
  if (chosen.size > 0) request.filters = [...chosen].map(([name, value]) => `${name}:${quoted(value)}`);
  if (offset > 0) {
    // The next page of what is shown, whatever was typed since.
    Object.assign(request, column.shown, { offset });
  }
  let shown;
  let meant;
  let said = "";
  let full = false;
  more.disabled = true;
  try {
    const answer = await call("search", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request),
    });
    said = `${counted(offset + answer.hits.length, "hit")}, ${number(answer.took_ms, 1)} ms`;
    full = answer.hits.length === PAGE;
    if (answer.facets && turn === latest[mode]) facets(answer.facets);
    meant = answer.did_you_mean;
    shown = answer.hits.map((hit, i) => {
      const item = make("li");
      item.dataset.id = hit.id;
      item.append(make("h3", `${offset + i + 1}. ${hit.title || hit.id}`), ...group(hit), snippet(hit), ...metadata(hit), reasons(hit));
      return item;
    });
    if (shown.length === 0 && offset === 0) shown = [make("li", "nothing found")];
    if (offset === 0) shown.unshift(...answer.warnings.map((warning) => make("li", warning, "warning")));
  } catch (fault) {
    shown = [make("li", fault.message, "error")];
  }
  // A slower answer to an earlier question must not replace a later one.
  if (turn !== latest[mode]) return;
  if (request.suggest) suggest(meant);
  column.shown = request;
  column.querySelector("span").textContent = said;
  if (offset > 0) list.append(...shown); else list.replaceChildren(...shown);
  more.hidden = !full;
  more.disabled = false;
}

// Other words that the index has, a click away.
function suggest(meant) {
  byId("meant").hidden = !meant;
  byId("meant").querySelector("a").textContent = meant || "";
}

function search() {
  if (!byId("query").value.trim()) return;
  const link = new URLSearchParams({ q: byId("query").value, weight: byId("weight").value });
  if (byId("group").value) link.set("group", byId("group").value);
  history.replaceState(null, "", `?${link}`);
  ["bm25", "dense", "hybrid"].forEach((mode) => ask(mode));
}

function showWeight() {
  const weight = Number(byId("weight").value);
  byId("shown").textContent = `${number(1 - weight, 2)} words, ${number(weight, 2)} meaning`;
}

["bm25", "dense", "hybrid"].forEach((mode) => {
  const more = make("button", "more");
  more.type = "button";
  more.hidden = true;
  more.addEventListener("click", () => ask(mode, byId(mode).querySelectorAll("li[data-id]").length));
  byId(mode).append(more);
});

byId("group").addEventListener("change", search);

let waiting;
byId("ask").addEventListener("submit", (event) => { event.preventDefault(); search(); });
byId("meant").querySelector("a").addEventListener("click", (event) => {
  event.preventDefault();
  byId("query").value = event.target.textContent;
  search();
});
byId("weight").addEventListener("input", () => {
  showWeight();
  clearTimeout(waiting);
  if (byId("query").value.trim()) waiting = setTimeout(() => ask("hybrid"), 120);
});

unlock().then((info) => {
  byId("about").textContent = `${counted(info.documents, "document")}, ${info.model_id}, ${info.dimension} dimensions`;
  const link = new URLSearchParams(location.search);
  // The first few names whose values are kept in columns, and so counted.
  names = info.metadata.filter((one) => one.documents !== undefined).map((one) => one.name).slice(0, 5);
  names.forEach((name) => {
    const option = make("option", name);
    option.value = name;
    byId("group").append(option);
  });
  byId("grouping").hidden = names.length === 0;
  byId("group").value = names.includes(link.get("group")) ? link.get("group") : "";
  byId("weight").value = link.get("weight") || info.weight;
  showWeight();
  byId("query").value = link.get("q") || byId("query").value;
  search();
}).catch((fault) => { byId("about").textContent = fault.message; byId("about").className = "error"; });

"use strict";
// One box, three columns. Text from the index is only ever set as text, never as markup.
const byId = (id) => document.getElementById(id);
const make = (name, text, kind) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const number = (value, digits = 3) => (value === null || value === undefined ? "-" : Number(value).toFixed(digits));

// The snippet's text with its highlighted character ranges marked.
function snippet(hit) {
  const paragraph = make("p");
  const characters = Array.from(hit.snippet.text);
  let at = 0;
  for (const [start, end] of hit.snippet.highlights) {
    paragraph.append(characters.slice(at, start).join(""), make("mark", characters.slice(start, end).join("")));
    at = end;
  }
  paragraph.append(characters.slice(at).join(""));
  return paragraph;
}

// Why a hit is there: each arm's rank and score, and the share of the fused score that it gave.
function reasons(hit) {
  const why = make("div", undefined, "why");
  if (hit.arms.length > 1) {
    const parts = hit.arms.map((arm) => Math.max(0, arm.weight * arm.normalised));
    const whole = parts.reduce((a, b) => a + b, 0) || 1;
    const bar = make("div", undefined, "bar");
    hit.arms.forEach((arm, i) => {
      const part = make("i", undefined, arm.name);
      part.style.width = `${(100 * parts[i]) / whole}%`;
      bar.append(part);
    });
    why.append(bar);
  }
  for (const arm of hit.arms) {
    const place = arm.rank === null ? "beyond its window" : `rank ${arm.rank}`;
    why.append(make("div", `${arm.name}: ${place}, score ${number(arm.raw)}, counts ${number(arm.normalised)} x ${number(arm.weight, 2)}`));
  }
  if (hit.explanation) {
    const details = make("details");
    details.append(make("summary", "explain"), make("pre", JSON.stringify(hit.explanation, null, 1)));
    why.append(details);
  }
  return why;
}

async function ask(mode) {
  const column = byId(mode);
  const list = column.querySelector("ol");
  const request = { query: byId("query").value, mode, top: 10, explain: true, snippets: true };
  if (mode === "hybrid") request.weight = Number(byId("weight").value);
  const headers = { "content-type": "application/json" };
  const key = sessionStorage.getItem("key");
  if (key) headers.authorization = `Bearer ${key}`;
  try {
    const response = await fetch("/search", { method: "POST", headers, body: JSON.stringify(request) });
    const answer = await response.json();
    if (response.status === 401 && !key) {
      const given = prompt("This server asks for an API key");
      if (given) { sessionStorage.setItem("key", given); return ask(mode); }
    }
    if (!response.ok) throw new Error(answer.error || response.statusText);
    column.querySelector("span").textContent = `${answer.hits.length} hits, ${number(answer.took_ms, 1)} ms`;
    list.replaceChildren(...answer.hits.map((hit, i) => {
      const item = make("li");
      item.dataset.id = hit.id;
      item.append(make("h3", `${i + 1}. ${hit.title || hit.id}`), snippet(hit), reasons(hit));
      return item;
    }));
    if (answer.hits.length === 0) list.replaceChildren(make("li", "nothing found"));
  } catch (error) {
    list.replaceChildren(make("li", error.message, "error"));
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("query").value.trim()) ["bm25", "hybrid", "dense"].forEach(ask);
});
byId("weight").addEventListener("input", () => { byId("shown").textContent = `${number(byId("weight").value, 2)} meaning`; });
byId("weight").addEventListener("change", () => { if (byId("query").value.trim()) ask("hybrid"); });
fetch("/info").then((response) => response.json()).then((info) => {
  byId("about").textContent = `${info.documents} documents, ${info.model_id}, ${info.dimension} dimensions`;
  byId("weight").value = info.weight;
  byId("weight").dispatchEvent(new Event("input"));
}).catch(() => {});

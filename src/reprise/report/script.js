// What the page can do beyond being read. Without this script all of it stands open and unsorted.

const made = (name, text = "", attributes = {}) => {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

// ---- sorting: down, up, then as it was. Empty cells stay last; each body by itself. ----
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);

  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return null; // a line across the table, which stays on top
    if (cell.classList.contains("num")) return Number.parseFloat(cell.dataset.value);
    return cell.textContent.trim().toLowerCase();
  };

  const compare = (column, direction) => (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x === null || y === null) return (y === null) - (x === null);
    if (typeof x === "string") return direction * x.localeCompare(y, undefined, { numeric: true });
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return direction * (x - y);
  };

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const order = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const next = order[(order.indexOf(head.ariaSort ?? "none") + 1) % 3];
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      for (const opened of table.querySelectorAll("details[open]")) opened.open = false;
      for (const [body, rows] of bodies) {
        const sign = next === "ascending" ? 1 : -1;
        const sorted = next === "none" ? rows : [...rows].sort(compare(column, sign));
        body.append(...sorted);
      }
    });
  });
}

// ---- many rows that are only printed: folded, with a button to unfold them ----
for (const body of document.querySelectorAll("tbody.elsewhere")) {
  const rows = [...body.rows].slice(1);
  if (rows.length < 6) continue;
  const button = made("button", "", { type: "button", class: "unfold" });
  const fold = (folded) => {
    body.classList.toggle("folded", folded);
    button.textContent = folded ? `show these ${rows.length} rows` : "hide them";
    button.setAttribute("aria-expanded", String(!folded));
  };
  button.addEventListener("click", () => fold(!body.classList.contains("folded")));
  body.rows[0].cells[0].append(" ", button);
  fold(true);
}

// ---- the panel: where a number comes from ----
const origins = JSON.parse(document.getElementById("origins").textContent);
const panel = document.getElementById("panel");

const listed = (pairs) => {
  const list = made("dl");
  for (const [name, words] of pairs) {
    const row = made("div");
    row.append(made("dt", name), made("dd", words));
    list.append(row);
  }
  return list;
};

const command = (what, text) => {
  const box = made("div", "", { class: "command" });
  const shown = made("pre", text, { tabindex: "0", "aria-label": what });
  const button = made("button", "Copy", { type: "button" });
  const said = made("span", "", { role: "status" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(shown);
      said.textContent = "selected: copy it with the keyboard";
    }
  });
  box.append(made("p", what), shown, button, said);
  return box;
};

const drawing = (name, points) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const [steps, values] = [points.map((p) => p[0]), points.map((p) => p[1])];
  const span = (numbers) => [Math.min(...numbers), Math.max(...numbers)];
  const [[left, right], [low, high]] = [span(steps), span(values)];
  const place = ([step, number]) =>
    `${(200 * (step - left)) / (right - left || 1)},${50 - (50 * (number - low)) / (high - low || 1)}`;
  svg.setAttribute("viewBox", "-4 -4 208 58");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${name} from ${values[0]} at step ${left} to ${values.at(-1)} at step ${right}`);
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  svg.append(line);
  const figure = made("figure");
  figure.append(svg, made("figcaption", `${name}: ${values[0]} to ${values.at(-1)}, steps ${left} to ${right}`));
  return figure;
};

const linked = (files) => {
  const list = made("ul");
  for (const [name, href] of files) {
    const entry = made("li");
    entry.append(made("a", name, { href }));
    list.append(entry);
  }
  return list;
};

const folded = (title, text) => {
  const box = made("details");
  box.append(made("summary", title), made("pre", text, { tabindex: "0" }));
  return box;
};

function* shownSeed(name, seed, found) {
  yield made("h3", `${name}, seed ${seed}`);
  yield listed(found.facts);
  if (Object.keys(found.curves).length) {
    const curves = made("div", "", { class: "curves" });
    curves.append(...Object.entries(found.curves).map(([term, points]) => drawing(term, points)));
    yield curves;
  }
  yield folded("Commands that made it", found.commands.join("\n"));
  if (found.files.length) {
    yield made("p", "Files, where this page lies beside the results:");
    yield linked(found.files);
  }
}

function* shown(cell) {
  yield listed(cell.facts);
  if (cell.rerun.length) yield made("h3", "Make this cell again");
  for (const [what, text] of cell.rerun) yield command(`To ${what}:`.replace("To then", "Then"), text);
  if (cell.rerun.length) yield made("p", "From the folder of the project, with its environment active.");
  const run = origins.runs[cell.run];
  const bench = origins.benchmarks[cell.benchmark];
  yield made("h3", "Resolved configuration");
  if (run.about) yield made("p", run.about);
  const open = folded(`run ${cell.run}`, run.config);
  open.open = true;
  yield open;
  if (cell.evaluator) yield folded(`evaluator ${cell.evaluator}`, origins.evaluators[cell.evaluator]);
  if (bench) {
    yield folded(`benchmark ${cell.benchmark}`, bench.config);
    yield listed(bench.facts);
    yield linked(bench.files);
    return;
  }
  for (const seed of cell.seeds) {
    if (run.seeds[seed]) yield* shownSeed(`Run ${cell.run}`, seed, run.seeds[seed]);
  }
}

const openPanel = (id) => {
  const cell = origins.cells[id];
  if (!cell) return;
  document.getElementById("panel-table").textContent = cell.table;
  document.getElementById("panel-title").textContent = cell.title;
  document.getElementById("panel-body").replaceChildren(...shown(cell));
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  history.replaceState(null, "", `#cell:${encodeURIComponent(id)}`);
};

const fromAddress = () => {
  if (location.hash.startsWith("#cell:")) openPanel(decodeURIComponent(location.hash.slice(6)));
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-cell]");
  if (button) openPanel(button.dataset.cell);
  if (event.target === panel) panel.close(); // beside it
});
panel.addEventListener("close", () => history.replaceState(null, "", location.pathname));
addEventListener("hashchange", fromAddress);

// ---- claims by verdict ----
const filterClaims = (section, outcome) => {
  for (const button of section.querySelectorAll(".filter button")) {
    button.setAttribute("aria-pressed", String(button.dataset.outcome === outcome));
  }
  for (const row of section.querySelectorAll("tr[data-outcome]")) {
    row.hidden = outcome !== "" && row.dataset.outcome !== outcome;
  }
};

for (const group of document.querySelectorAll(".filter")) {
  group.hidden = false;
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) filterClaims(group.closest("section"), button.dataset.outcome);
  });
}
for (const link of document.querySelectorAll("a[data-outcome]")) {
  link.addEventListener("click", () => {
    filterClaims(document.querySelector(link.getAttribute("href")), link.dataset.outcome);
  });
}

// ---- an opened claim has the whole width, in a row below its own (on phones it has it anyway) ----
for (const details of document.querySelectorAll(".claims details")) {
  const row = details.closest("tr");
  const below = made("tr", "", { class: "more", "data-outcome": row.dataset.outcome });
  const cell = made("td", "", { colspan: row.cells.length });
  below.append(cell);
  details.addEventListener("toggle", () => {
    if (details.open && !matchMedia("(max-width: 40rem)").matches) {
      cell.append(...[...details.children].slice(1));
      row.after(below);
    } else {
      details.append(...cell.childNodes);
      below.remove();
    }
  });
}

// ---- contents: find, fold, and follow the reader ----
const contents = document.getElementById("contents");
const find = document.getElementById("find");
const narrow = matchMedia("(max-width: 64rem)");
const whole = contents.querySelector("details");

find.parentElement.hidden = false;
contents.classList.add("live");
const unfoldContents = () => { whole.open = !narrow.matches; };
narrow.addEventListener("change", unfoldContents);
unfoldContents();

find.addEventListener("input", () => {
  const wanted = find.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  contents.classList.toggle("finding", wanted.length > 0);
  let count = 0;
  for (const entry of contents.querySelectorAll("[data-words]")) {
    const hit = wanted.every((word) => entry.dataset.words.includes(word));
    entry.classList.toggle("hit", hit);
    count += hit;
  }
  document.getElementById("found").textContent = wanted.length ? `${count} found` : "";
});

contents.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  if (narrow.matches) whole.open = false;
  const row = document.getElementById(link.getAttribute("href").slice(1));
  if (row?.matches("tr")) {
    filterClaims(row.closest("section"), "");
    row.querySelector("details").open = true;
  }
});

const links = new Map([...contents.querySelectorAll("a")].map((a) => [a.getAttribute("href").slice(1), a]));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    const link = links.get(entry.target.id);
    for (const other of links.values()) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    for (const paper of contents.querySelectorAll("li.paper")) {
      paper.classList.toggle("current", paper.contains(link));
    }
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const target of document.querySelectorAll("#opening, section[id]")) {
  if (links.has(target.id)) seen.observe(target);
}

fromAddress();

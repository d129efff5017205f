// The page works without this script. The script makes the table of all rows sort and filter, and shows provenance.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", follow);
follow();

function element(tag, text, ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

// Sorting and filtering

const module = URL.createObjectURL(new Blob([await unpack("datatables")], {type: "text/javascript"}));
const {default: DataTable} = await import(module);
URL.revokeObjectURL(module);
const table = new DataTable("#board", {
  paging: false, info: true, order: [], autoWidth: false,
  columnDefs: [{targets: "unsorted", orderable: false, searchable: false}],
  layout: {topStart: "search", topEnd: "info", bottomStart: null, bottomEnd: null},
  language: {search: "Search", info: "_TOTAL_ rows", infoFiltered: "of _MAX_", infoEmpty: "no rows"},
});
const selects = table.columns("th.filter").indexes().toArray().map((index) => {
  const column = table.column(index);
  const name = column.header().textContent.trim();
  const select = element("select", "", new Option("all", ""));
  for (const value of new Set(column.nodes().toArray().map((cell) => cell.textContent))) select.add(new Option(value, value));
  select.addEventListener("change", () => column.search(select.value, {exact: select.value !== ""}).draw());
  if (select.options.length > 2) document.getElementById("filters").append(element("label", name, select));
  return select;
});

// Rows without a number are hidden until the reader asks for them

const unmeasured = element("input");
unmeasured.type = "checkbox";
const measured = (index) => table.row(index).node().matches(".ok, .partial");
const without = table.rows().indexes().toArray().filter((index) => !measured(index)).length;
unmeasured.checked = without === table.rows().count();
table.search.fixed("measured", (text, data, index) => unmeasured.checked || measured(index));
unmeasured.addEventListener("change", () => table.draw());
if (without) document.getElementById("filters").append(element("label", `${without} ${without === 1 ? "row" : "rows"} without a number`, unmeasured));
table.draw();

function showAll() {
  unmeasured.checked = true;
  for (const select of selects) select.value = "";
  table.search("").columns().search("").draw();
}

// Permalinks

function goToHash() {
  const id = decodeURIComponent(location.hash.slice(1));
  document.querySelectorAll("tr.here").forEach((row) => row.classList.remove("here"));
  if (!id.startsWith("row-")) return;
  if (!document.getElementById(id)) showAll();
  const row = document.getElementById(id);
  if (!row) return;
  row.classList.add("here");
  row.scrollIntoView({block: "center"});
}
addEventListener("hashchange", goToHash);
goToHash();

// Provenance

const provenance = JSON.parse(await unpack("provenance"));
const dialog = document.getElementById("details");

function pairs(values) {
  const rows = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return element("table", "", ...rows.map(([name, value]) => element("tr", "", element("th", name), element("td", String(value)))));
}

function stage(number) {
  const facts = provenance.nodes[number];
  const more = facts.parts > facts.keys.length ? ` and ${facts.parts - facts.keys.length} more parts` : "";
  const head = element("summary", `${facts.stage}: ${facts.component}`);
  return element("details", "", head, pairs({
    key: facts.keys.join("  ") + more, device: facts.device, precision: facts.precision, seconds: facts.seconds,
    finished: facts.finished, commit: facts.commit, versions: provenance.texts[facts.versions],
  }), element("pre", provenance.texts[facts.hyperparameters]));
}

function explain(button) {
  const id = button.dataset.row;
  const body = document.getElementById("details-body");
  document.getElementById("details-title").textContent = id.slice(4);
  const link = element("a", `#${id}`);
  link.href = `#${id}`;
  body.replaceChildren(link, pairs({reason: button.dataset.reason, "no rank": button.dataset.refused, published: button.dataset.source}));
  for (const cell of provenance.rows[id] ?? []) {
    const accuracy = cell.top1 == null ? "not measured" : `top-1 ${cell.top1.toFixed(2)} %`;
    body.append(element("h3", `draw ${cell.draw}, seed ${cell.seed}, teacher ${cell.teacher}: ${accuracy}`), ...cell.nodes.map(stage));
  }
  dialog.showModal();
}
document.getElementById("board").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-row]");
  if (button) explain(button);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("#details-body > a")) dialog.close();
});
document.documentElement.dataset.ready = "yes";

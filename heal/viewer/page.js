// The list with its filters, the keys, the address, and what the page says of itself. trace.js stands before.
const every = Object.keys(data.repairs);
const items = new Map(); // id of a repair → its item in the list
let visible = [];
let current = null;

const byId = (id) => document.getElementById(id);
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

// What the list is filtered by: key, label, value of a repair.
const FACETS = [
  ["detector", "Detector", (repair) => about.variants[repair.variant]],
  ["verdict", "Verdict", (repair) => words(repair.verdict)],
  ["pure", "PURE", (repair) => repair.pure],
];
if (about.checked) FACETS.push(["checker", "Step checker", (repair) => CHECKER[repair.checker] ?? "not repaired"]);

function buildFilters() {
  const form = byId("filters");
  const field = (kind, key, label, control) => make("div", { class: kind }, make("label", { for: key }, label), control);
  const search = make("input", { type: "search", id: "problem", autocomplete: "off" });
  form.append(field("wide", "problem", "Problem (its id, or words of it)", search));
  for (const [key, label, value] of FACETS) {
    const found = every.map((id) => value(data.repairs[id]));
    const choices = [...new Set(found)].sort().map((one) => {
      return make("option", { value: one }, `${one} (${found.filter((other) => other === one).length})`);
    });
    form.append(field("", key, label, make("select", { id: key }, make("option", { value: "" }, "all"), choices)));
  }
  form.append(make("button", { type: "button", id: "all", class: "wide" }, "Show all"));
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("all").addEventListener("click", showAll);
}

function buildList() {
  every.forEach((id, index) => {
    const repair = data.repairs[id];
    const question = make("bdi", {}, data.problems[repair.problem].question);
    const item = make("li", { role: "option", id: `option-${index}` },
      make("span", {}, headline(repair)),
      make("span", { class: "small whole" }, about.variants[repair.variant]),
      make("span", { class: "small" }, `${shortId(repair)} · `, question));
    item.addEventListener("click", () => show(id));
    items.set(id, item);
  });
}

function matches(repair) {
  const problem = data.problems[repair.problem];
  const wanted = byId("problem").value.trim().toLowerCase();
  const text = [repair.problem, problem.question, problem.answer].join("\n").toLowerCase();
  return text.includes(wanted) && FACETS.every(([key, , value]) => ["", value(repair)].includes(byId(key).value));
}

function applyFilters() {
  visible = every.filter((id) => matches(data.repairs[id]));
  byId("list").replaceChildren(...visible.map((id) => items.get(id)));
  byId("count").textContent = `${visible.length} of ${plural(every.length, "trace")}`;
  if (visible.includes(current)) markCurrent();
  else if (visible.length) show(visible[0]);
  else clear();
}

function showAll() {
  byId("filters").reset();
  applyFilters();
}

function markCurrent() {
  for (const [id, item] of items) item.setAttribute("aria-selected", String(id === current));
  const item = items.get(current);
  const place = visible.indexOf(current);
  if (item) bringIntoView(item);
  byId("list").setAttribute("aria-activedescendant", item?.id ?? "");
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === visible.length - 1;
}

// Scrolls the list alone: on a narrow window the page must stay at the trace.
function bringIntoView(item) {
  const list = byId("list");
  const below = item.offsetTop + item.offsetHeight - list.clientHeight;
  if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop;
  else if (below > list.scrollTop) list.scrollTop = below;
}

function clear() {
  current = null;
  markCurrent();
  const why = every.length ? "No trace fits these filters." : "This run has no repairs.";
  byId("article").replaceChildren(make("p", {}, why));
}

function show(id) {
  const repair = data.repairs[id];
  current = id;
  markCurrent();
  byId("article").replaceChildren(...story(repair));
  document.title = `${headline(repair)} · ${shortId(repair)} · traces of ${about.run}`;
  if (addressed() !== id) location.replace(`#${encodeURIComponent(id)}`);
}

// The repair that the address names; null where it names none of this page.
function addressed() {
  try {
    const id = decodeURIComponent(location.hash.slice(1));
    return items.has(id) ? id : null;
  } catch {
    return null;
  }
}

function followAddress() {
  const id = addressed();
  if (id === null || id === current) return;
  current = id;
  if (!visible.includes(id)) showAll();
  show(id);
}

function move(count) {
  const place = Math.max(0, visible.indexOf(current));
  const id = visible[Math.min(visible.length - 1, Math.max(0, place + count))];
  if (id !== undefined && id !== current) show(id);
}

const LETTERS = { j: 1, k: -1 };
const KEYS = { ...LETTERS, ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

function onKeys(id, keys) {
  byId(id).addEventListener("keydown", (event) => {
    if (!Object.hasOwn(keys, event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(keys[event.key]);
  });
}

function listen() {
  onKeys("list", KEYS);
  onKeys("story", LETTERS);
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("numbers").addEventListener("change", (event) => {
    byId("article").classList.toggle("numbers", event.target.checked);
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names a trace
    byId("story").focus();
  });
  window.addEventListener("hashchange", followAddress);
}

function buildFrame() {
  const { git, pure } = about;
  const fewer = every.length < about.asked ? ` More do not fit into ${about.size_limit_mb} MB.` : "";
  const shown = `${every.length.toLocaleString("en")} of ${plural(about.found, "repair")}`;
  const rule = `rule ${pure.rule}, λ = ${pure.drop_share}, over the accepted repairs of each detector`;
  const texts = {
    title: `Traces of the teacher ${about.teacher}`,
    subtitle: `Run ${about.run}, draw ${about.draw}. ${shown}, spread over detectors, verdicts and problems.${fewer}`,
    epsilon: pure.epsilon,
    certain: pure.certain_below,
    rule: pure.enabled ? rule : "switched off, every accepted repair is kept",
    run: about.run,
    teacher: `${about.teacher}: ${about.model} (${about.engine}), draw ${about.draw}`,
    command: about.command,
    commit: `${git.commit ?? "not known"}${git.dirty ? ", with changes that are not committed" : ""}`,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
  const swatch = (index, text) => make("span", { class: `t e${index}` }, text);
  byId("legend").append(make("span", { class: "label" }, "Token entropy, nats:"), swatch(0, `< ${BOUNDS[0]}`),
    ...BOUNDS.map((bound, index) => swatch(index + 1, index + 1 < BOUNDS.length ? bound : `≥ ${bound}`)));
}

buildFrame();
buildFilters();
buildList();
listen();
const isRepaired = (repair) => repair.verdict === "accepted" && data.cuts[repair.cut].kept > 0;
current = addressed() ?? every.find((id) => isRepaired(data.repairs[id])) ?? null;
applyFilters();
if (current !== null) show(current);

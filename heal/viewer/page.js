// The list with its filters, the keys, the address, and the page's header and footer. trace.js comes first.
const ids = Object.keys(data.repairs);
const items = new Map(); // repair id → list item
let visible = [];
let current = null;

const byId = (id) => document.getElementById(id);
const formatCount = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// Filters of the list: key, label, value of a repair.
const FACETS = [
  ["detector", "Detector", (repair) => about.variants[repair.variant]],
  ["verdict", "Verdict", (repair) => formatName(repair.verdict)],
  ["pure", "PURE", (repair) => repair.pure],
];
if (about.checked) FACETS.push(["checker", "Step checker", (repair) => CHECKER[repair.checker] ?? "no repair"]);

function buildFilters() {
  const form = byId("filters");
  const makeField = (className, key, label, control) =>
    make("div", { class: className }, make("label", { for: key }, label), control);
  const search = make("input", { type: "search", id: "problem", autocomplete: "off" });
  form.append(makeField("wide", "problem", "Problem (id or words)", search));
  for (const [key, label, value] of FACETS) {
    const values = ids.map((id) => value(data.repairs[id]));
    const options = [...new Set(values)].sort().map((one) => {
      return make("option", { value: one }, `${one} (${values.filter((other) => other === one).length})`);
    });
    form.append(makeField("", key, label, make("select", { id: key }, make("option", { value: "" }, "all"), options)));
  }
  form.append(make("button", { type: "button", id: "all", class: "wide" }, "Show all"));
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("all").addEventListener("click", showAll);
}

function buildList() {
  ids.forEach((id, index) => {
    const repair = data.repairs[id];
    const question = make("bdi", {}, data.problems[repair.problem].question);
    const item = make("li", { role: "option", id: `option-${index}` },
      make("span", {}, formatHeadline(repair)),
      make("span", { class: "small whole" }, about.variants[repair.variant]),
      make("span", { class: "small" }, `${shortenId(repair)} · `, question));
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
  visible = ids.filter((id) => matches(data.repairs[id]));
  byId("list").replaceChildren(...visible.map((id) => items.get(id)));
  byId("count").textContent = `${visible.length} of ${formatCount(ids.length, "trace")}`;
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
  if (item) scrollIntoList(item);
  byId("list").setAttribute("aria-activedescendant", item?.id ?? "");
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === visible.length - 1;
}

// Scrolls the list only: in a narrow window the page must stay at the trace.
function scrollIntoList(item) {
  const list = byId("list");
  const below = item.offsetTop + item.offsetHeight - list.clientHeight;
  if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop;
  else if (below > list.scrollTop) list.scrollTop = below;
}

function clear() {
  current = null;
  markCurrent();
  const message = ids.length ? "No trace matches these filters." : "This run has no repairs.";
  byId("article").replaceChildren(make("p", {}, message));
}

function show(id) {
  const repair = data.repairs[id];
  current = id;
  markCurrent();
  byId("article").replaceChildren(...makeStory(repair));
  document.title = `${formatHeadline(repair)} · ${shortenId(repair)} · traces of ${about.run}`;
  if (readAddress() !== id) location.replace(`#${encodeURIComponent(id)}`);
}

// The repair in the address; null where this page has no such repair.
function readAddress() {
  try {
    const id = decodeURIComponent(location.hash.slice(1));
    return items.has(id) ? id : null;
  } catch {
    return null;
  }
}

function followAddress() {
  const id = readAddress();
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

function listenToKeys(id, keys) {
  byId(id).addEventListener("keydown", (event) => {
    if (!Object.hasOwn(keys, event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(keys[event.key]);
  });
}

function listen() {
  listenToKeys("list", KEYS);
  listenToKeys("story", LETTERS);
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("numbers").addEventListener("change", (event) => {
    byId("article").classList.toggle("numbers", event.target.checked);
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address holds a trace
    byId("story").focus();
  });
  window.addEventListener("hashchange", followAddress);
}

function buildHeaderAndFooter() {
  const { git, pure } = about;
  const limit = ids.length < about.requested ? ` The others do not fit into ${about.size_limit_mb} MB.` : "";
  const shown = `${ids.length.toLocaleString("en")} of ${formatCount(about.total, "repair")}`;
  const rule = `rule ${pure.rule}, λ = ${pure.drop_share}, over the accepted repairs of each GEAR variant`;
  const seed = `teacher sampling seed ${about.teacher_seed}`;
  const texts = {
    title: `Traces of the teacher ${about.teacher}`,
    subtitle: `Run ${about.run}, ${seed}. ${shown}, spread over GEAR variants, verdicts and problems.${limit}`,
    epsilon: pure.epsilon,
    certain: pure.certain_below,
    rule: pure.enabled ? rule : "disabled, every accepted repair is kept",
    run: about.run,
    teacher: `${about.teacher}: ${about.model} (${about.engine}), ${seed}`,
    command: about.command,
    commit: `${git.commit ?? "unknown"}${git.dirty ? ", with uncommitted changes" : ""}`,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
  const makeSwatch = (index, text) => make("span", { class: `t e${index}` }, text);
  byId("legend").append(make("span", { class: "label" }, "Token entropy, nats:"), makeSwatch(0, `< ${BOUNDS[0]}`),
    ...BOUNDS.map((bound, index) => makeSwatch(index + 1, index + 1 < BOUNDS.length ? bound : `≥ ${bound}`)));
}

buildHeaderAndFooter();
buildFilters();
buildList();
listen();
const isRepaired = (repair) => repair.verdict === "accepted" && data.cuts[repair.cut].kept > 0;
current = readAddress() ?? ids.find((id) => isRepaired(data.repairs[id])) ?? null;
applyFilters();
if (current !== null) show(current);

"use strict";
// Texts of traces are data from a model: they reach the page as text nodes and attributes of fixed names, never as html.
const data = JSON.parse(document.getElementById("data").textContent);
const about = data.about;
const every = Object.keys(data.repairs);
const BOUNDS = [0.1, 0.3, 0.6, 1, 1.5, 2.5, 4]; // nats; a token at or above the i-th has background i + 1
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children.flat(2).filter((child) => child !== null));
  return node;
}

const words = (name) => name.replaceAll("_", " ");
const missing = (value) => value === null || value === undefined;
const fixed = (value, digits) => (missing(value) ? "–" : value.toFixed(digits).replace(/^-(0\.0*$)/, "$1").replace("-", "−"));
const signed = (value) => (value >= 0.005 ? "+" : "") + fixed(value, 2);
function short(value) {
  if (missing(value)) return "–";
  return value >= 1e4 ? value.toExponential(1) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}
const level = (nats) => BOUNDS.filter((bound) => nats >= bound).length;
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

// What the list is filtered by: key, label, value of a repair, words for a value.
const FACETS = [
  ["detector", "Detector", (repair) => about.variants[repair.variant]],
  ["verdict", "Verdict", (repair) => words(repair.verdict)],
  ["pure", "PURE", (repair) => repair.pure],
  ["checker", "Step checker", (repair) => CHECKER[repair.checker] ?? "cannot say"],
];
const CHECKER = { valid: "every step right", inherited: "error was kept", fresh: "error is new" };

/* ---- The list ---- */

const options = new Map(); // id → list item
let visible = [];
let current = null;

function buildFilters() {
  const search = make("input", { type: "search", id: "problem", autocomplete: "off" });
  const form = byId("filters");
  form.append(make("div", { class: "wide" }, make("label", { for: "problem" }, "Problem (its id, or words of it)"), search));
  for (const [key, label, value] of FACETS) {
    const counts = new Map();
    for (const id of every) {
      const found = value(data.repairs[id]);
      counts.set(found, (counts.get(found) ?? 0) + 1);
    }
    const select = make("select", { id: key }, make("option", { value: "" }, "all"), [...counts.keys()].sort().map((one) => make("option", { value: one }, `${one} (${counts.get(one)})`)));
    form.append(make("div", {}, make("label", { for: key }, label), select));
  }
  form.append(make("button", { type: "button", id: "all", class: "wide" }, "Show all"));
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("all").addEventListener("click", showAll);
}

function matches(repair) {
  const problem = data.problems[repair.problem];
  const wanted = byId("problem").value.trim().toLowerCase();
  const text = [repair.problem, problem.question, problem.answer].join("\n").toLowerCase();
  return text.includes(wanted) && FACETS.every(([key, , value]) => ["", value(repair)].includes(byId(key).value));
}

const shortId = (repair) => repair.problem.slice(0, 6);
const verdict = (repair) => (repair.verdict === "accepted" ? "✓ accepted" : `✗ ${words(repair.verdict)}`);

function headline(repair) {
  if (repair.verdict !== "accepted") return verdict(repair);
  return `${verdict(repair)}, ${repair.pure === "not scored" ? "not scored" : `${repair.pure} by PURE`}`;
}

function buildList() {
  every.forEach((id, index) => {
    const repair = data.repairs[id];
    const problem = data.problems[repair.problem];
    const item = make("li", { role: "option", id: `option-${index}`, "aria-selected": "false" },
      make("span", {}, headline(repair)),
      make("span", { class: "small whole" }, about.variants[repair.variant]),
      make("span", { class: "small" }, `${shortId(repair)} · `, make("bdi", {}, problem.question)));
    item.addEventListener("click", () => show(id));
    options.set(id, item);
  });
}

function applyFilters() {
  visible = every.filter((id) => matches(data.repairs[id]));
  byId("list").replaceChildren(...visible.map((id) => options.get(id)));
  byId("count").textContent = `${visible.length} of ${plural(every.length, "trace")}`;
  if (visible.length && !visible.includes(current)) show(visible[0]);
  else if (!visible.length) clear();
  else markCurrent();
}

function showAll() {
  byId("filters").reset();
  applyFilters();
}

function markCurrent() {
  for (const [id, item] of options) item.setAttribute("aria-selected", String(id === current));
  const item = options.get(current);
  const place = visible.indexOf(current);
  if (item) bringIntoView(item);
  byId("list").setAttribute("aria-activedescendant", item?.id ?? "");
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === visible.length - 1;
}

// Scrolls the list alone: on a narrow window the page must stay at the trace.
function bringIntoView(item) {
  const list = byId("list");
  if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop;
  const below = item.offsetTop + item.offsetHeight - list.clientHeight;
  if (below > list.scrollTop) list.scrollTop = below;
}

function clear() {
  current = null;
  markCurrent();
  byId("article").replaceChildren(make("p", {}, every.length ? "No trace fits these filters." : "This run has no repairs."));
}

function show(id) {
  current = id;
  markCurrent();
  byId("article").replaceChildren(...story(data.repairs[id]));
  document.title = `${headline(data.repairs[id])} · ${shortId(data.repairs[id])} · traces of ${about.run}`;
  if (fromAddress() !== id) location.replace(`#${encodeURIComponent(id)}`);
}

function fromAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function followAddress() {
  const id = fromAddress();
  if (id === current || !options.has(id)) return;
  current = id;
  if (!visible.includes(id)) showAll();
  show(id);
}

function move(steps) {
  const place = Math.max(0, visible.indexOf(current));
  const id = visible[Math.min(visible.length - 1, Math.max(0, place + steps))];
  if (id !== undefined && id !== current) show(id);
}

const KEYS = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

function listen() {
  byId("list").addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(KEYS[event.key]);
  });
  byId("story").addEventListener("keydown", (event) => {
    if (["j", "k"].includes(event.key) && !event.ctrlKey && !event.altKey && !event.metaKey) move(KEYS[event.key]);
  });
  byId("previous").addEventListener("click", () => move(-1));
  byId("next").addEventListener("click", () => move(1));
  byId("numbers").addEventListener("change", (event) => byId("article").classList.toggle("numbers", event.target.checked));
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("story").focus(); });
  window.addEventListener("hashchange", followAddress);
}

/* ---- One trace ---- */

// A token's text and entropy, by its number in a text; a repair's first tokens are those of the trace that was cut.
function reader(text) {
  return (index) => ({ piece: text.pieces[index], nats: text.centinats[index] / 100 });
}

function repairReader(repair, cut) {
  const kept = reader(data.texts[cut.text]);
  const added = reader(data.texts[repair.text]);
  return (index) => (index < repair.kept_tokens ? kept(index) : added(index - repair.kept_tokens));
}

function tokens(read, start, end) {
  const nodes = [];
  let held = 0; // a character of several tokens stands with its last: it has the largest of their entropies
  for (let index = start; index < end; index += 1) {
    const { piece, nats } = read(index);
    held = Math.max(held, nats);
    if (piece === "") continue;
    const ends = index >= end - 2 && piece.trim() === "" && piece.includes("\n");
    const attributes = { class: `t${level(held) ? ` e${level(held)}` : ""}${ends ? " end" : ""}`, title: `${held.toFixed(2)} nats` };
    if (level(held)) attributes["data-nats"] = held.toFixed(2);
    nodes.push(make("span", attributes, ends ? "" : piece));
    held = 0;
  }
  return nodes;
}

function tag(text, kind) {
  return make("span", { class: `tag ${kind}` }, text);
}

function step(k, read, start, end, facts, marks) {
  return make("li", {},
    make("div", { class: "head" }, make("span", { class: "k" }, k ? `Step ${k}` : "After the steps"), facts.map((fact) => make("span", {}, fact)), marks),
    make("p", { class: "text", dir: "auto" }, tokens(read, start, end)));
}

const breakpointMark = (k, cut) => (k === cut.breakpoint ? [tag("breakpoint k*", "alarm")] : []);
const wrongMark = (k, row) => (k === row.first_wrong ? [tag("first wrong step", "alarm")] : []);
const traceMarks = (k, cut) => [...breakpointMark(k, cut), ...wrongMark(k, cut)];

function repairMarks(k, repair) {
  const score = repair.score;
  const marks = wrongMark(k, repair);
  if (!score) return marks;
  if (k === score.worst) marks.push(tag("largest ln r", "accent"));
  if (k === score.ratios.length) marks.push(tag(score.certain ? "k₁: the answer is certain" : "k₁: last scored step", "accent"));
  if (k === score.statement) marks.push(tag("states the answer", "quiet"));
  return marks;
}

function pureFacts(k, score) {
  if (!score) return [];
  const ratio = k <= score.ratios.length ? [`ln r ${fixed(score.ratios[k - 1], 2)}`] : [];
  return [`ppl ${short(score.perplexities[k - 1])}`, `u ${fixed(score.uncertainties[k - 1], 3)}`, ...ratio];
}

// Steps first … last of one text, and what follows the last step (the answer behind a thinking block).
function steps(first, last, row, read, length, describe) {
  const items = [];
  for (let k = first; k <= last; k += 1) {
    const { facts, marks } = describe(k);
    items.push(step(k, read, k > 1 ? row.ends[k - 2] : 0, row.ends[k - 1], [`${fixed(row.entropies[k - 1], 2)} nats`, ...facts], marks));
  }
  const end = row.ends.length ? row.ends[row.ends.length - 1] : 0;
  if (last === row.ends.length && end < length) {
    const rest = step(0, read, end, length, [], []);
    if (rest.textContent.trim() !== "After the steps") items.push(rest);
  }
  return make("ol", { class: "steps" }, items);
}

function facts(repair, cut) {
  const problem = data.problems[repair.problem];
  const tried = repair.text !== null;
  const score = tried ? repair.score : null;
  const wrong = (row) => (!about.checked ? null : row.first_wrong === null ? "none" : `step ${row.first_wrong}`);
  const surge = cut.breakpoint && cut.surges[cut.breakpoint - 1] !== null ? `, surge ${signed(cut.surges[cut.breakpoint - 1])} nats` : "";
  const told = [
    ["Gold answer", problem.answer],
    ["Answer of the wrong trace", cut.answer ?? "none"],
    ["Answer of the repair", tried ? (repair.answer ?? "none") : null],
    ["Breakpoint k*", cut.breakpoint === null ? "none: no step surges enough" : `step ${cut.breakpoint} of ${cut.ends.length}${surge}`],
    ["Cut", tried ? (cut.kept ? `after step ${cut.kept}` : "before step 1: nothing is kept") : null],
    ["Same cut by both entropy bounds", cut.certain === null ? null : cut.certain ? "yes" : "no"],
    ["First wrong step of the wrong trace", wrong(cut)],
    ["First wrong step of the repair", tried ? wrong(repair) : null],
    ["k₁", score ? (score.ratios.length ? `step ${score.ratios.length}, ${score.certain ? "where the answer is certain" : "the last that is scored"}` : "none") : null],
    ["Anomaly: the largest ln r", score ? `${fixed(score.anomaly, 2)}${score.worst ? `, at step ${score.worst}` : ""}` : null],
    ["s: −ln p(answer statement)", score ? `${fixed(score.statement_nll, 2)} nats` : null],
  ];
  return make("dl", { class: "facts" }, told.filter(([, value]) => value !== null).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))));
}

function hintBox(repair) {
  if (!repair.hint) return make("p", { class: "quiet" }, "No hint was given here.");
  const where = repair.place === "user" ? "Hint, in the user's turn" : "Hint, injected here";
  return make("div", { class: "hint", id: "hint" },
    make("p", {}, make("strong", {}, where), " · not part of the training text"),
    make("p", { class: "text", dir: "auto" }, make("bdi", {}, repair.hint)));
}

function table(caption, columns, rows) {
  const head = make("tr", {}, columns.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)));
  const body = rows.map((cells) => make("tr", {}, cells.map((cell, index) => {
    if (cell instanceof Node) return cell;
    return index ? make("td", { class: columns[index][1] }, cell) : make("th", { scope: "row" }, cell);
  })));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body)));
}

function bar(value, largest) {
  const cell = make("td", { class: "bar" }, fixed(value, 2));
  cell.style.setProperty("--share", value && largest ? Math.max(0, value / largest).toFixed(3) : "0");
  return cell;
}

const tokenCount = (row, k) => String(row.ends[k - 1] - (k > 1 ? row.ends[k - 2] : 0));
const lower = (row) => Math.max(...row.entropies.map((value) => value ?? 0), 0);
const markTexts = (marks) => marks.map((mark) => mark.textContent).join("; ");

function repairTable(repair, cut) {
  const score = repair.score;
  const columns = [["Step", null], ["Part", "what"], ["Tokens", null], ["Entropy, nats", null], ...(score ? [["ppl", null], ["u", null], ["ln r", null]] : []), ["Marks", "marks"]];
  const rows = repair.ends.map((_, index) => {
    const k = index + 1;
    const measured = score ? [short(score.perplexities[index]), fixed(score.uncertainties[index], 3), fixed(score.ratios[index], 2)] : [];
    return [String(k), k <= cut.kept ? "kept" : "new", tokenCount(repair, k), bar(repair.entropies[index], lower(repair)), ...measured, markTexts(repairMarks(k, repair))];
  });
  return table("Steps of the repair", columns, rows);
}

function traceTable(cut) {
  const columns = [["Step", null], ["Part", "what"], ["Tokens", null], ["Entropy, nats", null], ["Surge, nats", null], ["Marks", "marks"]];
  const rows = cut.ends.map((_, index) => {
    const k = index + 1;
    const part = k <= cut.kept || cut.breakpoint === null ? "kept" : "dropped";
    return [String(k), part, tokenCount(cut, k), bar(cut.entropies[index], lower(cut)), signed(cut.surges[index]), markTexts(traceMarks(k, cut))];
  });
  return table("Steps of the wrong trace", columns, rows);
}

function part(kind, title, ...content) {
  return make("section", { class: `part ${kind}`, "aria-label": title }, make("h3", {}, title), content);
}

const range = (first, last) => (first === last ? `step ${first}` : `steps ${first} to ${last}`);

function story(repair) {
  const cut = data.cuts[repair.cut];
  const problem = data.problems[repair.problem];
  const tried = repair.text !== null;
  const source = data.texts[cut.text];
  const readSource = reader(source);
  const total = cut.ends.length;
  const kept = tried ? cut.kept : total;
  const score = tried ? repair.score : null;
  const ofTrace = (k) => ({ facts: [`surge ${signed(cut.surges[k - 1])}`], marks: traceMarks(k, cut) });
  const ofKept = (k) => ({ facts: pureFacts(k, score), marks: [...breakpointMark(k, cut), ...repairMarks(k, repair)] });
  const ofNew = (k) => ({ facts: pureFacts(k, score), marks: repairMarks(k, repair) });
  const kind = repair.verdict === "accepted" ? "fine" : "alarm";
  const tags = [
    tag(about.variants[repair.variant], "quiet"),
    tag(verdict(repair), kind),
    repair.pure === "not scored" ? null : tag(`PURE: ${repair.pure}`, repair.pure === "kept" ? "fine" : "alarm"),
    repair.checker ? tag(CHECKER[repair.checker], repair.checker === "valid" ? "fine" : "alarm") : null,
  ].filter(Boolean);
  const nodes = [
    make("div", {},
      make("h2", {}, `Problem ${shortId(repair)}, ${tried ? `repair ${repair.index + 1}` : "not repaired"}`),
      make("ul", { class: "tags", "aria-label": "Verdicts" }, tags.map((one) => make("li", {}, one)))),
    make("p", { class: "question", dir: "auto" }, problem.question),
    facts(repair, cut),
  ];
  if (!tried) {
    nodes.push(part("", "The wrong trace", steps(1, total, cut, readSource, source.pieces.length, ofTrace)), traceTable(cut));
    return nodes;
  }
  const read = repairReader(repair, cut);
  const length = repair.kept_tokens + data.texts[repair.text].pieces.length;
  const keptPart = kept ? steps(1, kept, cut, readSource, 0, ofKept) : make("p", { class: "quiet" }, "Nothing: the teacher starts over.");
  const dropped = kept < total ? steps(kept + 1, total, cut, readSource, source.pieces.length, ofTrace) : make("p", { class: "quiet" }, "Nothing was dropped.");
  nodes.push(
    part("", kept ? `Kept: ${range(1, kept)}` : "Kept", keptPart),
    make("div", { class: "branches" },
      part("dropped", kept < total ? `Cut here. Dropped: ${range(kept + 1, total)} of the wrong trace` : "Cut here", dropped),
      part("new", "In their place: the repair", hintBox(repair), steps(kept + 1, repair.ends.length, repair, read, length, ofNew))),
    repairTable(repair, cut),
    traceTable(cut));
  return nodes;
}

/* ---- What the page says of itself ---- */

function buildLegend() {
  const edges = [0, ...BOUNDS];
  byId("legend").append(make("span", { class: "label" }, "Token entropy, nats:"),
    ...edges.map((edge, index) => make("span", { class: `t${index ? ` e${index}` : ""}` }, index === edges.length - 1 ? `≥ ${edge}` : `${index ? "" : "< "}${index ? edge : edges[1]}`)));
}

function define(list, pairs) {
  byId(list).append(...pairs.flatMap(([name, meaning]) => [make("dt", {}, name), make("dd", {}, meaning)]));
}

function buildFrame() {
  const fewer = every.length < about.asked ? ` More do not fit into ${about.size_limit_mb} MB.` : "";
  byId("title").textContent = `Traces of the teacher ${about.teacher}`;
  byId("subtitle").textContent = `Run ${about.run}, draw ${about.draw}. ${every.length.toLocaleString("en")} of ${plural(about.found, "repair")}, spread over detectors, verdicts and problems.${fewer}`;
  const pure = about.pure;
  define("terms", [
    ["entropy", "Of the teacher's next-token distribution, in nats, at temperature 1: the background of each token, and its tooltip; a lower bound where the engine told the likeliest tokens only. A step has the mean of its tokens (or the run's other statistic)."],
    ["surge, k*", "A step's entropy less that of the step before; the first step's less that of correct traces. k* is the breakpoint the detector chose; the cut lies before it, by the run's rewind."],
    ["hint", "What the teacher was told at the cut. It is in the context of the continuation, whose entropies are therefore entropies with the hint, and it is not in the training text."],
    ["ppl", "exp of the step's surprise under the teacher without the hint."],
    ["u", "Uncertainty about the gold answer that is left after the step, without the hint; 1 before any step. In long traces it is measured at some steps and held in between."],
    ["ln r", `ln(ppl / (u + ε)), ε = ${pure.epsilon}: large where a step is surprising and the answer is then certain. The largest up to k₁ is the trace's anomaly.`],
    ["k₁", `The first step with u below ${pure.certain_below}, else the last before the answer is stated. What follows is not scored.`],
    ["PURE", pure.enabled ? `Rule ${pure.rule}, λ = ${pure.drop_share}, over the accepted repairs of each detector.` : "Switched off: every accepted repair is kept."],
    ["first wrong step", "By a checker of single steps, where the problems have one. A step after a wrong one is right again where it follows from it."],
  ]);
  const git = about.git.commit ? `${about.git.commit}${about.git.dirty ? ", with changes that are not committed" : ""}` : "not known";
  define("provenance", [["Run", about.run], ["Teacher", `${about.teacher}: ${about.model} (${about.engine}), draw ${about.draw}`], ["Made by", make("code", {}, about.command)], ["Commit", git]]);
}

buildFrame();
buildLegend();
buildFilters();
buildList();
listen();
const first = every.find((id) => data.repairs[id].verdict === "accepted" && data.cuts[data.repairs[id].cut].kept > 0);
current = options.has(fromAddress()) ? fromAddress() : first ?? null;
applyFilters();
if (current !== null) show(current);

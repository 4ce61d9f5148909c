"use strict";
// One trace as nodes. Texts of traces are data from a model: they reach the page as text nodes, never as html.
// page.js follows in the same script.
const data = JSON.parse(document.getElementById("data").textContent);
const about = data.about;
const BOUNDS = [0.1, 0.3, 0.6, 1, 1.5, 2.5, 4]; // nats; a token at or above the i-th has background i + 1 of page.css
const CHECKER = { valid: "every step right", inherited: "error was kept", fresh: "error is new" };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat(2));
  return node;
}

/* ---- Words ---- */

const words = (name) => name.replaceAll("_", " ");
const missing = (value) => value === null || value === undefined;
const range = (first, last) => (first === last ? `step ${first}` : `steps ${first} to ${last}`);

function fixed(value, digits) {
  return missing(value) ? "–" : value.toFixed(digits).replace(/^-(0\.0*$)/, "$1").replace("-", "−");
}

const signed = (value) => (value >= 0.005 ? "+" : "") + fixed(value, 2);

function perplexity(value) {
  if (missing(value)) return "–";
  return value >= 1e4 ? value.toExponential(1) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

const shortId = (repair) => repair.problem.slice(0, 6);
const verdict = (repair) => (repair.verdict === "accepted" ? "✓ accepted" : `✗ ${words(repair.verdict)}`);

function headline(repair) {
  if (repair.verdict !== "accepted") return verdict(repair);
  return `${verdict(repair)}, ${repair.pure === "not scored" ? "not scored" : `${repair.pure} by PURE`}`;
}

/* ---- Tokens and steps ---- */

const level = (nats) => BOUNDS.filter((bound) => nats >= bound).length;

// A token's text and entropy, by its number in a text.
function reader(text) {
  return (index) => ({ piece: text.pieces[index], nats: text.centinats[index] / 100 });
}

// The same of a repair: its first tokens are those of the trace that was cut.
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
    // The blank line behind a step is one or two tokens; it shows as a sign, which page.css makes.
    const blank = index >= end - 2 && piece.trim() === "" && piece.includes("\n");
    const node = make("span", { class: "t", title: `${held.toFixed(2)} nats` }, blank ? "" : piece);
    if (level(held)) {
      node.classList.add(`e${level(held)}`);
      node.dataset.nats = held.toFixed(2);
    }
    if (blank) node.classList.add("end");
    nodes.push(node);
    held = 0;
  }
  return nodes;
}

const tag = (text, kind) => make("span", { class: `tag ${kind}` }, text);

function step(title, content, facts = [], marks = []) {
  const head = [make("span", { class: "k" }, title), facts.map((fact) => make("span", {}, fact)), marks];
  return make("li", {}, make("div", { class: "head" }, head), make("p", { class: "text", dir: "auto" }, content));
}

const startOf = (row, k) => (k > 1 ? row.ends[k - 2] : 0);
const tokenCount = (row, k) => String(row.ends[k - 1] - startOf(row, k));

// Steps first … last of one text, and what follows the last of all (the answer behind a thinking block).
function steps(first, last, row, read, length, describe) {
  const items = [];
  for (let k = first; k <= last; k += 1) {
    const { facts, marks } = describe(k);
    const content = tokens(read, startOf(row, k), row.ends[k - 1]);
    items.push(step(`Step ${k}`, content, [`${fixed(row.entropies[k - 1], 2)} nats`, ...facts], marks));
  }
  const rest = last === row.ends.length ? tokens(read, row.ends[last - 1] ?? 0, length) : [];
  if (rest.some((node) => node.textContent.trim())) items.push(step("After the steps", rest));
  return make("ol", { class: "steps" }, items);
}

/* ---- What is known of a step ---- */

const breakpointMark = (k, cut) => (k === cut.breakpoint ? [tag("breakpoint k*", "alarm")] : []);
const wrongMark = (k, row) => (k === row.first_wrong ? [tag("first wrong step", "alarm")] : []);
const traceMarks = (k, cut) => [...breakpointMark(k, cut), ...wrongMark(k, cut)];

function repairMarks(k, repair) {
  const score = repair.score;
  const marks = wrongMark(k, repair);
  if (!score) return marks;
  if (k === score.worst) marks.push(tag("largest ln r", "accent"));
  if (k === score.ratios.length) {
    marks.push(tag(score.certain ? "k₁: the answer is certain" : "k₁: last scored step", "accent"));
  }
  if (k === score.statement) marks.push(tag("states the answer", "quiet"));
  return marks;
}

function pureFacts(k, score) {
  if (!score) return [];
  const ratio = k <= score.ratios.length ? [`ln r ${fixed(score.ratios[k - 1], 2)}`] : [];
  return [`ppl ${perplexity(score.perplexities[k - 1])}`, `u ${fixed(score.uncertainties[k - 1], 3)}`, ...ratio];
}

/* ---- Facts and tables ---- */

function breakpointFact(cut) {
  if (cut.breakpoint === null) return "none: no step surges enough";
  const surge = cut.surges[cut.breakpoint - 1];
  return `step ${cut.breakpoint} of ${cut.ends.length}${missing(surge) ? "" : `, surge ${signed(surge)} nats`}`;
}

const wrongFact = (row) => (row.first_wrong === null ? "none" : `step ${row.first_wrong}`);

function certaintyFact(score) {
  if (!score.ratios.length) return "none";
  return `step ${score.ratios.length}, ${score.certain ? "where the answer is certain" : "the last that is scored"}`;
}

function facts(repair, cut) {
  const told = [["Gold answer", data.problems[repair.problem].answer]];
  told.push(["Answer of the wrong trace", cut.answer ?? "none"]);
  const tried = repair.text !== null;
  const score = tried && repair.score;
  if (tried) told.push(["Answer of the repair", repair.answer ?? "none"]);
  told.push(["Breakpoint k*", breakpointFact(cut)]);
  if (tried) told.push(["Cut", cut.kept ? `after step ${cut.kept}` : "before step 1: nothing is kept"]);
  if (cut.certain !== null) told.push(["Same cut by both entropy bounds", cut.certain ? "yes" : "no"]);
  if (about.checked) told.push(["First wrong step of the wrong trace", wrongFact(cut)]);
  if (about.checked && tried) told.push(["First wrong step of the repair", wrongFact(repair)]);
  if (score) {
    const at = score.worst === null ? "" : `, at step ${score.worst}`;
    told.push(["k₁", certaintyFact(score)], ["Anomaly: the largest ln r", `${fixed(score.anomaly, 2)}${at}`]);
    told.push(["s: −ln p(answer statement)", `${fixed(score.statement_nll, 2)} nats`]);
  }
  const pair = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value));
  return make("dl", { class: "facts" }, told.map(pair));
}

// columns: name and class of each; a row is one text or cell per column.
function table(caption, columns, rows) {
  const head = make("tr", {}, columns.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)));
  const cell = (content, index) => {
    if (content instanceof Node) return content;
    return index ? make("td", { class: columns[index][1] }, content) : make("th", { scope: "row" }, content);
  };
  const body = rows.map((cells) => make("tr", {}, cells.map(cell)));
  const whole = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, whole);
}

function entropyCell(row, k) {
  const cell = make("td", { class: "bar" }, fixed(row.entropies[k - 1], 2));
  const share = (row.entropies[k - 1] ?? 0) / Math.max(...row.entropies, 1e-9);
  cell.style.setProperty("--share", Math.max(0, share).toFixed(3));
  return cell;
}

const column = (name, kind = "number") => [name, kind];
const FIRST = [column("Step"), column("Part", "words"), column("Tokens"), column("Entropy, nats")];
const markTexts = (marks) => marks.map((mark) => mark.textContent).join("; ");

function repairTable(repair, cut) {
  const score = repair.score;
  const rows = repair.ends.map((_, index) => {
    const k = index + 1;
    const measured = score
      ? [perplexity(score.perplexities[index]), fixed(score.uncertainties[index], 3), fixed(score.ratios[index], 2)]
      : [];
    const part = k <= cut.kept ? "kept" : "new";
    const first = [String(k), part, tokenCount(repair, k), entropyCell(repair, k)];
    return [...first, ...measured, markTexts(repairMarks(k, repair))];
  });
  const pure = score ? [column("ppl"), column("u"), column("ln r")] : [];
  return table("Steps of the repair", [...FIRST, ...pure, column("Marks", "words")], rows);
}

function traceTable(cut, tried) {
  const rows = cut.ends.map((_, index) => {
    const k = index + 1;
    const part = !tried ? "not cut" : k <= cut.kept ? "kept" : "dropped";
    const surge = signed(cut.surges[index]);
    return [String(k), part, tokenCount(cut, k), entropyCell(cut, k), surge, markTexts(traceMarks(k, cut))];
  });
  return table("Steps of the wrong trace", [...FIRST, column("Surge, nats"), column("Marks", "words")], rows);
}

/* ---- The whole ---- */

function hintBox(repair) {
  if (!repair.hint) return make("p", { class: "quiet" }, "No hint was given here.");
  const where = repair.place === "user" ? "Hint, in the user's turn" : "Hint, injected here";
  return make("div", { class: "hint", id: "hint" },
    make("p", {}, make("strong", {}, where), " · not part of the training text"),
    make("p", { class: "text", dir: "auto" }, make("bdi", {}, repair.hint)));
}

function part(kind, title, ...content) {
  return make("section", { class: `part ${kind}`, "aria-label": title }, make("h3", {}, title), content);
}

function verdicts(repair) {
  const tags = [tag(about.variants[repair.variant], "quiet")];
  tags.push(tag(verdict(repair), repair.verdict === "accepted" ? "fine" : "alarm"));
  if (repair.pure !== "not scored") tags.push(tag(`PURE: ${repair.pure}`, repair.pure === "kept" ? "fine" : "alarm"));
  if (repair.checker) tags.push(tag(CHECKER[repair.checker], repair.checker === "valid" ? "fine" : "alarm"));
  return make("ul", { class: "tags", "aria-label": "Verdicts" }, tags.map((one) => make("li", {}, one)));
}

// What was kept, and from the cut on what was dropped beside what stands in its place.
function branches(repair, cut, traceSteps) {
  const { kept } = cut;
  const total = cut.ends.length;
  const read = repairReader(repair, cut);
  const length = repair.kept_tokens + data.texts[repair.text].pieces.length;
  const ofNew = (k) => ({ facts: pureFacts(k, repair.score), marks: repairMarks(k, repair) });
  const ofKept = (k) => ({ ...ofNew(k), marks: [...breakpointMark(k, cut), ...repairMarks(k, repair)] });
  const nothing = (text) => make("p", { class: "quiet" }, text);
  const keptSteps = kept ? steps(1, kept, cut, read, 0, ofKept) : nothing("Nothing: the teacher starts over.");
  const dropped = kept < total ? traceSteps(kept + 1) : nothing("Nothing was dropped.");
  const cutTitle = kept < total ? `Cut here. Dropped: ${range(kept + 1, total)} of the wrong trace` : "Cut here";
  const added = steps(kept + 1, repair.ends.length, repair, read, length, ofNew);
  return [
    part("", kept ? `Kept: ${range(1, kept)}` : "Kept", keptSteps),
    make("div", { class: "branches" },
      part("dropped", cutTitle, dropped),
      part("new", "In their place: the repair", hintBox(repair), added)),
    repairTable(repair, cut),
  ];
}

function story(repair) {
  const cut = data.cuts[repair.cut];
  const tried = repair.text !== null;
  const text = data.texts[cut.text];
  const ofTrace = (k) => ({ facts: [`surge ${signed(cut.surges[k - 1])}`], marks: traceMarks(k, cut) });
  const traceSteps = (from) => steps(from, cut.ends.length, cut, reader(text), text.pieces.length, ofTrace);
  const title = `Problem ${shortId(repair)}, ${tried ? `repair ${repair.index + 1}` : "not repaired"}`;
  return [
    make("div", {}, make("h2", {}, title), verdicts(repair)),
    make("p", { class: "question", dir: "auto" }, data.problems[repair.problem].question),
    facts(repair, cut),
    ...(tried ? branches(repair, cut, traceSteps) : [part("", "The wrong trace", traceSteps(1))]),
    traceTable(cut, tried),
  ];
}

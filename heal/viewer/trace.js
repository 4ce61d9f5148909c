"use strict";
// Builds the nodes of one trace. Texts of traces are data from a model: they reach the page as text nodes, never as
// html. page.js follows in the same script.
const data = JSON.parse(document.getElementById("data").textContent);
const about = data.about;
const BOUNDS = [0.1, 0.3, 0.6, 1, 1.5, 2.5, 4]; // nats; a token at or above the i-th has background i + 1 of page.css
const CHECKER = { valid: "every step valid", inherited: "inherited error", fresh: "fresh error" };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat(2));
  return node;
}

/* ---- Formats ---- */

const formatName = (name) => name.replaceAll("_", " ");
const isMissing = (value) => value === null || value === undefined;
const formatRange = (first, last) => (first === last ? `step ${first}` : `steps ${first} to ${last}`);

function formatNumber(value, digits) {
  return isMissing(value) ? "–" : value.toFixed(digits).replace(/^-(0\.0*$)/, "$1").replace("-", "−");
}

const formatSigned = (value) => (value >= 0.005 ? "+" : "") + formatNumber(value, 2);

function formatPerplexity(value) {
  if (isMissing(value)) return "–";
  return value >= 1e4 ? value.toExponential(1) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

const shortenId = (repair) => repair.problem.slice(0, 6);
const formatVerdict = (repair) => (repair.verdict === "accepted" ? "✓ accepted" : `✗ ${formatName(repair.verdict)}`);

function formatHeadline(repair) {
  if (repair.verdict !== "accepted") return formatVerdict(repair);
  return `${formatVerdict(repair)}, ${repair.pure === "not scored" ? "not scored" : `${repair.pure} by PURE`}`;
}

/* ---- Tokens and steps ---- */

const findLevel = (nats) => BOUNDS.filter((bound) => nats >= bound).length;

// A function: index of a token → its text and entropy.
function makeReader(text) {
  return (index) => ({ piece: text.pieces[index], nats: text.centinats[index] / 100 });
}

// The same for a repair: its first tokens are those of the trace that was cut.
function makeRepairReader(repair, cut) {
  const readKept = makeReader(data.texts[cut.text]);
  const readNew = makeReader(data.texts[repair.text]);
  return (index) => (index < repair.kept_tokens ? readKept(index) : readNew(index - repair.kept_tokens));
}

function makeTokens(read, start, end) {
  const nodes = [];
  let highest = 0; // a character of several tokens is shown with the last one, and the largest of their entropies
  for (let index = start; index < end; index += 1) {
    const { piece, nats } = read(index);
    highest = Math.max(highest, nats);
    if (piece === "") continue;
    // The blank line after a step is one or two tokens; page.css shows it as a sign.
    const blank = index >= end - 2 && piece.trim() === "" && piece.includes("\n");
    const node = make("span", { class: "t", title: `${highest.toFixed(2)} nats` }, blank ? "" : piece);
    if (findLevel(highest)) {
      node.classList.add(`e${findLevel(highest)}`);
      node.dataset.nats = highest.toFixed(2);
    }
    if (blank) node.classList.add("end");
    nodes.push(node);
    highest = 0;
  }
  return nodes;
}

const makeTag = (text, className) => make("span", { class: `tag ${className}` }, text);

function makeStep(title, content, facts = [], marks = []) {
  const head = [make("span", { class: "k" }, title), facts.map((fact) => make("span", {}, fact)), marks];
  return make("li", {}, make("div", { class: "head" }, head), make("p", { class: "text", dir: "auto" }, content));
}

const getStart = (row, k) => (k > 1 ? row.ends[k - 2] : 0);
const countTokens = (row, k) => String(row.ends[k - 1] - getStart(row, k));

// Steps first … last of a text, and what follows the last of all (the answer after a thinking block).
function makeSteps(first, last, row, read, length, describe) {
  const items = [];
  for (let k = first; k <= last; k += 1) {
    const { facts, marks } = describe(k);
    const content = makeTokens(read, getStart(row, k), row.ends[k - 1]);
    items.push(makeStep(`Step ${k}`, content, [`${formatNumber(row.entropies[k - 1], 2)} nats`, ...facts], marks));
  }
  const rest = last === row.ends.length ? makeTokens(read, row.ends[last - 1] ?? 0, length) : [];
  if (rest.some((node) => node.textContent.trim())) items.push(makeStep("After the steps", rest));
  return make("ol", { class: "steps" }, items);
}

/* ---- Marks and numbers of a step ---- */

const markBreakpoint = (k, cut) => (k === cut.breakpoint ? [makeTag("breakpoint k*", "alarm")] : []);
const markFirstWrong = (k, row) => (k === row.first_wrong ? [makeTag("first wrong step", "alarm")] : []);
const markTraceStep = (k, cut) => [...markBreakpoint(k, cut), ...markFirstWrong(k, cut)];

function markRepairStep(k, repair) {
  const score = repair.score;
  const marks = markFirstWrong(k, repair);
  if (!score) return marks;
  if (k === score.worst) marks.push(makeTag("largest ln r", "accent"));
  if (k === score.ratios.length) {
    marks.push(makeTag(score.certain ? "k₁: the answer is certain" : "k₁: last scored step", "accent"));
  }
  if (k === score.statement) marks.push(makeTag("states the answer", "quiet"));
  return marks;
}

function formatScore(k, score) {
  if (!score) return [];
  const ratio = k <= score.ratios.length ? [`ln r ${formatNumber(score.ratios[k - 1], 2)}`] : [];
  const perplexity = formatPerplexity(score.perplexities[k - 1]);
  return [`ppl ${perplexity}`, `u ${formatNumber(score.uncertainties[k - 1], 3)}`, ...ratio];
}

/* ---- Facts and tables ---- */

function formatBreakpoint(cut) {
  if (cut.breakpoint === null) return "none: no surge is large enough";
  const surge = cut.surges[cut.breakpoint - 1];
  return `step ${cut.breakpoint} of ${cut.ends.length}${isMissing(surge) ? "" : `, surge ${formatSigned(surge)} nats`}`;
}

const formatFirstWrong = (row) => (row.first_wrong === null ? "none" : `step ${row.first_wrong}`);

function formatLastScored(score) {
  if (!score.ratios.length) return "none";
  return `step ${score.ratios.length}, ${score.certain ? "where the answer is certain" : "the last scored step"}`;
}

function makeFacts(repair, cut) {
  const facts = [["Gold answer", data.problems[repair.problem].answer]];
  facts.push(["Answer of the wrong trace", cut.answer ?? "none"]);
  const tried = repair.text !== null;
  const score = tried && repair.score;
  if (tried) facts.push(["Answer of the repair", repair.answer ?? "none"]);
  facts.push(["Breakpoint k*", formatBreakpoint(cut)]);
  if (tried) facts.push(["Cut", cut.kept ? `after step ${cut.kept}` : "before step 1: nothing is kept"]);
  if (cut.certain !== null) facts.push(["Both entropy bounds give this cut", cut.certain ? "yes" : "no"]);
  if (about.checked) facts.push(["First wrong step of the wrong trace", formatFirstWrong(cut)]);
  if (about.checked && tried) facts.push(["First wrong step of the repair", formatFirstWrong(repair)]);
  if (score) {
    const where = score.worst === null ? "" : `, at step ${score.worst}`;
    facts.push(["k₁", formatLastScored(score)]);
    facts.push(["Anomaly: largest ln r, nats", `${formatNumber(score.anomaly, 2)}${where}`]);
    facts.push(["s: −ln p(answer statement)", `${formatNumber(score.statement_nll, 2)} nats`]);
  }
  const makePair = ([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value));
  return make("dl", { class: "facts" }, facts.map(makePair));
}

// columns: name and class of each; a row has one text or cell per column.
function makeTable(caption, columns, rows) {
  const head = make("tr", {}, columns.map(([name, cls]) => make("th", { scope: "col", class: cls }, name)));
  const makeCell = (content, index) => {
    if (content instanceof Node) return content;
    return index ? make("td", { class: columns[index][1] }, content) : make("th", { scope: "row" }, content);
  };
  const body = rows.map((cells) => make("tr", {}, cells.map(makeCell)));
  const table = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function makeEntropyCell(row, k) {
  const cell = make("td", { class: "bar" }, formatNumber(row.entropies[k - 1], 2));
  const share = (row.entropies[k - 1] ?? 0) / Math.max(...row.entropies, 1e-9);
  cell.style.setProperty("--share", Math.max(0, share).toFixed(3));
  return cell;
}

const FIRST_COLUMNS = [["Step", "number"], ["Part", "words"], ["Tokens", "number"], ["Entropy, nats", "number"]];
const SCORE_COLUMNS = [["ppl", "number"], ["u", "number"], ["ln r, nats", "number"]];
const MARKS_COLUMN = ["Marks", "words"];
const joinMarks = (marks) => marks.map((mark) => mark.textContent).join("; ");

function makeRepairTable(repair, cut) {
  const score = repair.score;
  const rows = repair.ends.map((_, index) => {
    const k = index + 1;
    const row = [String(k), k <= cut.kept ? "kept" : "new", countTokens(repair, k), makeEntropyCell(repair, k)];
    if (score) {
      row.push(formatPerplexity(score.perplexities[index]), formatNumber(score.uncertainties[index], 3));
      row.push(formatNumber(score.ratios[index], 2));
    }
    return [...row, joinMarks(markRepairStep(k, repair))];
  });
  return makeTable("Steps of the repair", [...FIRST_COLUMNS, ...(score ? SCORE_COLUMNS : []), MARKS_COLUMN], rows);
}

function makeTraceTable(cut, tried) {
  const rows = cut.ends.map((_, index) => {
    const k = index + 1;
    const part = !tried ? "not cut" : k <= cut.kept ? "kept" : "dropped";
    const surge = formatSigned(cut.surges[index]);
    return [String(k), part, countTokens(cut, k), makeEntropyCell(cut, k), surge, joinMarks(markTraceStep(k, cut))];
  });
  return makeTable("Steps of the wrong trace", [...FIRST_COLUMNS, ["Surge, nats", "number"], MARKS_COLUMN], rows);
}

/* ---- The whole trace ---- */

function makeHint(repair) {
  if (!repair.hint) return make("p", { class: "quiet" }, "No hint was given.");
  const where = repair.place === "user" ? "Hint, in the user's turn" : "Hint, injected at the cut";
  return make("div", { class: "hint", id: "hint" },
    make("p", {}, make("strong", {}, where), " · not part of the training text"),
    make("p", { class: "text", dir: "auto" }, make("bdi", {}, repair.hint)));
}

function makePart(className, title, ...content) {
  return make("section", { class: `part ${className}`, "aria-label": title }, make("h3", {}, title), content);
}

function makeVerdicts(repair) {
  const tags = [makeTag(about.variants[repair.variant], "quiet")];
  tags.push(makeTag(formatVerdict(repair), repair.verdict === "accepted" ? "fine" : "alarm"));
  if (repair.pure !== "not scored") {
    tags.push(makeTag(`PURE: ${repair.pure}`, repair.pure === "kept" ? "fine" : "alarm"));
  }
  if (repair.checker) tags.push(makeTag(CHECKER[repair.checker], repair.checker === "valid" ? "fine" : "alarm"));
  return make("ul", { class: "tags", "aria-label": "Verdicts" }, tags.map((one) => make("li", {}, one)));
}

// The kept steps; then, side by side, the dropped steps and the repair that replaces them.
function makeBranches(repair, cut, makeTraceSteps) {
  const { kept } = cut;
  const total = cut.ends.length;
  const read = makeRepairReader(repair, cut);
  const length = repair.kept_tokens + data.texts[repair.text].pieces.length;
  const describeNew = (k) => ({ facts: formatScore(k, repair.score), marks: markRepairStep(k, repair) });
  const describeKept = (k) => ({ ...describeNew(k), marks: [...markBreakpoint(k, cut), ...markRepairStep(k, repair)] });
  const makeNote = (text) => make("p", { class: "quiet" }, text);
  const keptSteps = kept ? makeSteps(1, kept, cut, read, 0, describeKept) : makeNote("Nothing: the teacher restarts.");
  const dropped = kept < total ? makeTraceSteps(kept + 1) : makeNote("Nothing was dropped.");
  const cutTitle = kept < total ? `Cut. Dropped: ${formatRange(kept + 1, total)} of the wrong trace` : "Cut";
  const added = makeSteps(kept + 1, repair.ends.length, repair, read, length, describeNew);
  return [
    makePart("", kept ? `Kept: ${formatRange(1, kept)}` : "Kept", keptSteps),
    make("div", { class: "branches" },
      makePart("dropped", cutTitle, dropped),
      makePart("new", "The repair that replaces them", makeHint(repair), added)),
    makeRepairTable(repair, cut),
  ];
}

function makeStory(repair) {
  const cut = data.cuts[repair.cut];
  const tried = repair.text !== null;
  const text = data.texts[cut.text];
  const describe = (k) => ({ facts: [`surge ${formatSigned(cut.surges[k - 1])}`], marks: markTraceStep(k, cut) });
  const read = makeReader(text);
  const makeTraceSteps = (from) => makeSteps(from, cut.ends.length, cut, read, text.pieces.length, describe);
  const title = `Problem ${shortenId(repair)}, ${tried ? `repair ${repair.index + 1}` : "no repair"}`;
  return [
    make("div", {}, make("h2", {}, title), makeVerdicts(repair)),
    make("p", { class: "question", dir: "auto" }, data.problems[repair.problem].question),
    makeFacts(repair, cut),
    ...(tried ? makeBranches(repair, cut, makeTraceSteps) : [makePart("", "The wrong trace", makeTraceSteps(1))]),
    makeTraceTable(cut, tried),
  ];
}

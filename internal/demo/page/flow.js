// Draws flows. Text of others (claims, titles, errors) is only ever set as text.

// element makes an element with attributes and children; a string is text.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const actors = ["Browser", "Middle tier", "Identity platform", "API"];
const [browser, middleTier, platform, api] = [0, 1, 2, 3];

// explanations of claims, the important ones first.
const important = {
  aud: "for whom the token is",
  azp: "who asked for it",
  scp: "what it allows, for a user",
  roles: "what it allows, for an application",
  name: "the user",
  acrs: "proof of the user that was asked for",
  exp: "until when it is good",
};

// Times and IDs of a token differ in any two tokens.
const always = ["exp", "nbf", "iat", "uti", "rh"];

// names are the names of IDs that appear in claims.
let names = {};

export function setNames(known) {
  names = known;
}

// problemType is the last part of a problem's type, or "".
export function problemType(flow) {
  return typeof flow.problem?.type === "string" ? flow.problem.type.split("/").pop() : "";
}

function time(ms) {
  if (!ms) return "";
  if (ms < 0.1) return "under 0.1 ms";
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

function caller(flow) {
  return flow.path.startsWith("/app/") ? "Daemon" : flow.browser ? actors[browser] : "Caller";
}

// summary says in one line what became of a flow.
export function summary(flow) {
  if (!flow.done) return "is under way";
  if (!flow.status) return "ended without an answer";
  const type = problemType(flow);
  const source = { memory: "token from memory", identity_provider: "token by exchange" }[flow.timing.source];
  return [flow.status + (type ? " " + type : ""), type ? "" : source, time(flow.milliseconds)].filter(Boolean).join(", ");
}

// timing is what the answer's Server-Timing header says.
export function timing(flow) {
  const { validate, token, api, source } = flow.timing;
  const from = { memory: " from memory", identity_provider: " by exchange" }[source] ?? "";
  const parts = [
    validate && `checking the token ${time(validate)}`, token && `the API's token${from} ${time(token)}`,
    api && `the API and the way to it ${time(api)}`,
  ];
  const known = parts.filter(Boolean);
  return known.length ? `Server-Timing of the middle tier: ${known.join(", ")}.` : "";
}

// who names the caller by the claims of its token.
function who(flow) {
  const claims = flow.caller;
  if (!claims) return flow.path.startsWith("/bff/") ? "the session's cookie" : "no token";
  if (typeof claims.name === "string" && claims.scp !== undefined) return `${claims.name}'s token for the middle tier`;
  return "a token without a user";
}

// stepsOf makes the steps of the drawing: {from, to, text, strong, time, state}.
function stepsOf(flow) {
  const steps = [{ from: browser, to: middleTier, text: `${flow.method} ${flow.path}, with ${who(flow)}` }];
  const refusedHere = flow.done && flow.problem && !flow.steps.length;
  if (refusedHere) {
    steps.push({ from: middleTier, to: middleTier, strong: "Refused", text: String(flow.problem.detail ?? ""), state: "bad" });
  } else if (flow.done || flow.steps.length) {
    const text = "Token and access rule are checked: accepted";
    steps.push({ from: middleTier, to: middleTier, text, time: flow.timing.validate, state: "good" });
  }
  const exchanged = flow.steps.some((s) => s.kind === "exchange");
  if (!exchanged && flow.timing.source === "memory" && !flow.problem) {
    steps.push({ from: middleTier, to: middleTier, text: "The API's token is in memory: no exchange", time: flow.timing.token });
  } else if (!exchanged && flow.timing.source === "identity_provider") {
    steps.push({ from: middleTier, to: middleTier, text: "Shares the exchange of another request", time: flow.timing.token });
  }
  for (const step of flow.steps) {
    steps.push(...(step.kind === "exchange" ? exchangeSteps(step) : apiSteps(step)));
  }
  if (flow.done) {
    steps.push({
      from: middleTier, to: browser, strong: flow.status ? String(flow.status) : "No answer",
      text: flow.problem ? String(flow.problem.title ?? "") : "", time: flow.milliseconds, state: stateOf(flow.status),
    });
  }
  return steps;
}

function stateOf(status) {
  return status >= 200 && status < 400 ? "good" : "bad";
}

function exchangeSteps(step) {
  const grant = step.grant === "client_credentials" ? "as itself (client credentials)" : "on behalf of the user";
  const demand = step.demand ? `, with the proof ${step.demand}` : "";
  const steps = [{ from: middleTier, to: platform, text: `Asks for a token for ${step.scope}, ${grant}${demand}` }];
  if (!step.done) return steps;
  if (step.status === 200) {
    steps.push({ from: platform, to: middleTier, strong: "Issued", text: "A token for the API", time: step.milliseconds, state: "good" });
  } else if (step.status) {
    steps.push({
      from: platform, to: middleTier, strong: [step.error, step.suberror].filter(Boolean).join(", ") || String(step.status),
      text: step.description ?? "", time: step.milliseconds, state: "bad",
    });
  } else {
    const text = "The connection was closed";
    steps.push({ from: platform, to: middleTier, strong: "No answer", text, time: step.milliseconds, state: "bad" });
  }
  return steps;
}

function apiSteps(step) {
  const steps = [{ from: middleTier, to: api, text: `${step.method} ${step.path}, with the API's token` }];
  if (step.done) {
    const strong = String(step.status || "No answer");
    steps.push({ from: api, to: middleTier, strong, text: step.error ?? "", time: step.milliseconds, state: stateOf(step.status) });
  }
  return steps;
}

// draw returns the drawing of a flow.
export function draw(flow, animated) {
  const shown = [caller(flow), ...actors.slice(1)];
  const steps = stepsOf(flow).map((s) => {
    const label = element("span", { class: "label" });
    label.append(element("span", { class: "hidden" }, s.from === s.to ? `${shown[s.from]}: ` : `${shown[s.from]} to ${shown[s.to]}: `));
    if (s.strong) label.append(element("strong", {}, s.strong), s.text ? ". " : " ");
    label.append(s.text ?? "");
    if (s.time) label.append(" ", element("span", { class: "time" }, time(s.time)));
    const direction = s.from === s.to ? "self" : s.from < s.to ? "forth" : "back";
    const classes = [direction, `from-${s.from}`, `to-${s.to}`, s.state, animated ? "new" : ""].filter(Boolean).join(" ");
    return element("li", { class: classes }, element("span", { class: "arrow", "aria-hidden": "true" }), label);
  });
  return [
    element("ul", { class: "actors", "aria-hidden": "true" }, ...shown.map((a) => element("li", {}, a))),
    element("ol", { class: "steps" }, ...steps),
  ];
}

// traded returns the claims of the last token that the API received, or undefined.
export function traded(flow) {
  return flow.steps.findLast((s) => s.token)?.token;
}

function text(value) {
  if (value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

// cell is a claim's value, and in small letters what it means.
function cell(claim, value, changed) {
  const made = element("td");
  if (value === undefined) {
    made.append("–");
    return made;
  }
  made.append(changed ? element("mark", {}, text(value)) : text(value));
  let meaning = typeof value === "string" ? names[value] : undefined;
  if (typeof value === "number" && ["exp", "nbf", "iat"].includes(claim)) {
    const date = new Date(value * 1000);
    if (!Number.isNaN(date.getTime())) meaning = date.toLocaleTimeString();
  }
  if (meaning) made.append(element("small", {}, meaning));
  return made;
}

function table(claims, left, right) {
  const head = element("tr", {}, element("th", { scope: "col" }, "Claim"), element("th", { scope: "col" }, "Token of the caller"));
  if (right) head.append(element("th", { scope: "col" }, "Token that the API gets"));
  const rows = claims.map((claim) => {
    const changed = Boolean(right) && !always.includes(claim) && text(left?.[claim]) !== text(right[claim]);
    const heading = element("th", { scope: "row" }, element("code", {}, claim));
    if (important[claim]) heading.append(element("small", {}, important[claim]));
    if (changed) heading.append(element("small", {}, "changed"));
    const row = element("tr", { "data-claim": claim }, heading, cell(claim, left?.[claim], changed));
    if (right) row.append(cell(claim, right[claim], changed));
    return row;
  });
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

// tokens returns the claims of both tokens side by side.
export function tokens(flow) {
  const left = flow.caller, right = traded(flow);
  const all = [...new Set([...Object.keys(left ?? {}), ...Object.keys(right ?? {})])];
  const first = Object.keys(important).filter((c) => all.includes(c));
  const others = all.filter((c) => !first.includes(c)).sort();
  const made = [table(first, left, right)];
  if (others.length) {
    made.push(element("details", {}, element("summary", {}, `${others.length} more claims`), table(others, left, right)));
  }
  return made;
}

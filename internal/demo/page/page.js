// Signs in, calls the middle tier, and shows the flows that the demo observes.
import { showMSAL, startSession } from "./session.js";
import { draw, element, problemType, setNames, summary, timing, tokens, traded } from "./flow.js";

const settings = JSON.parse(document.getElementById("settings").textContent);
const scopes = [settings.scope];
const find = (id) => document.getElementById(id);
const show = (id, visible) => { find(id).hidden = !visible; };
setNames(settings.names);

// What the tab remembers of an earlier run of the demo is of another platform.
const runKey = "middletier-demo-run";
if (sessionStorage.getItem(runKey) !== settings.run) {
  sessionStorage.clear();
  sessionStorage.setItem(runKey, settings.run);
}

// ---- Sign-in

const client = new msal.PublicClientApplication({
  auth: {
    clientId: settings.clientId,
    authority: settings.authority,
    knownAuthorities: [new URL(settings.authority).host],
    authorityMetadata: JSON.stringify(settings.metadata), // else its first request would meet the certificate
    redirectUri: location.origin + "/",
    postLogoutRedirectUri: location.origin + "/",
    clientCapabilities: ["cp1"], // this page answers claims challenges
  },
  cache: { cacheLocation: "sessionStorage" },
});

let account = null;

async function start() {
  const pending = takePending();
  let result = null; // of a sign-in that has just come back
  try {
    await client.initialize();
    result = await client.handleRedirectPromise();
  } catch (error) {
    showSignInError(error);
  }
  account = result?.account ?? client.getAllAccounts()[0] ?? null;
  showAccount();
  if (account) await list();
  if (result && pending) await runCase(pending, true);
}

function showAccount() {
  show("signed-out", !account);
  show("signed-in", Boolean(account));
  show("todo", Boolean(account));
  show("todo-signed-out", !account);
  find("user").textContent = account?.username ?? "";
  find("case-user").textContent = caseUser() === "bob" ? "Bob" : "Alice";
  showMSAL();
}

function showSignInError(error) {
  const code = String(error?.errorCode ?? error?.name ?? "error");
  let text = `The sign-in did not finish: ${code}. ${String(error?.errorMessage ?? error?.message ?? "")}`;
  if (error instanceof msal.InteractionRequiredAuthError) text = "Your sign-in has ended. Sign in again.";
  if (code === "access_denied") text = "You have canceled the sign-in.";
  if (code.includes("network") || code.includes("post_request_failed")) {
    text = "The browser could not reach the identity platform. Sign in again, and accept its certificate.";
  }
  find("account-error").textContent = text;
  show("account-error", true);
}

async function signIn(extra = {}) {
  show("account-error", false);
  try {
    await client.loginRedirect({ scopes, prompt: "select_account", ...extra });
  } catch (error) {
    showSignInError(error);
  }
}

async function signOut() {
  try {
    // The middle tier forgets the tokens that it traded for this user's token.
    await send("POST", "/signout", await token());
  } catch { /* the sign-out goes on without it */ }
  // The hint is for the platform: other tabs may have signed in somebody else.
  await client.logoutRedirect({ account, logoutHint: account.username });
}

// token returns the user's token for the middle tier, from the browser's cache or with the
// refresh token.
async function token() {
  const result = await client.acquireTokenSilent({
    scopes, account, cacheLookupPolicy: msal.CacheLookupPolicy.AccessTokenAndRefreshToken,
  });
  find("token-origin").textContent = result.fromCache
    ? `It is in the page's own cache until ${result.expiresOn.toLocaleTimeString()}.`
    : "It has just come from the identity platform.";
  showMSAL();
  return result.accessToken;
}

// What to do after a redirect survives in the tab.
const pendingKey = "middletier-demo-pending";

function takePending() {
  const name = sessionStorage.getItem(pendingKey);
  sessionStorage.removeItem(pendingKey);
  return name;
}

// ---- Calls

async function send(method, path, bearer, body, requestId = crypto.randomUUID()) {
  const headers = { Authorization: `Bearer ${bearer}`, "X-Request-ID": requestId };
  if (body) headers["Content-Type"] = "application/json";
  return fetch(path, { method, headers, body: body || undefined });
}

// asUser calls the API for the signed-in user. It returns the answer, or null after an
// error, which it shows.
async function asUser(method, path, body) {
  const requestId = crypto.randomUUID();
  let bearer, answer;
  try {
    bearer = await token();
  } catch (error) {
    account = null; // without a token, a new sign-in is what helps
    showAccount();
    showSignInError(error);
    return null;
  }
  try {
    answer = await send(method, path, bearer, body, requestId);
  } catch {
    showToDoError("The demo does not answer.");
    return null;
  }
  show("todo-error", false);
  if (answer.ok) return answer;
  showToDoError(`The call was refused with ${answer.status}. `, whatHappened(requestId));
  return null;
}

// whatHappened is a link that shows the flow of a request.
function whatHappened(requestId) {
  const link = element("a", { href: "#flow" }, "What happened");
  link.addEventListener("click", () => {
    const flow = [...flows.values()].find((f) => f.requestId === requestId);
    if (!flow) return; // the demo was restarted, or many calls came later
    selected = flow.id;
    showFlows();
  });
  return link;
}

function showToDoError(...content) {
  find("todo-error").replaceChildren(...content);
  show("todo-error", true);
}

async function list() {
  const answer = await asUser("GET", "/api/todo/items");
  if (answer) showItems(await answer.json());
}

function showItems(items) {
  find("items").replaceChildren(...items.map((item) => {
    const remove = element("button", { type: "button", "aria-label": `Delete ${item.title}` }, "Delete");
    remove.addEventListener("click", () => busy(remove, async () => {
      if (await asUser("DELETE", `/api/todo/items/${encodeURIComponent(item.id)}`)) await list();
      find("title").focus();
    }));
    return element("li", {}, element("span", {}, item.title), remove);
  }));
  show("no-items", !items.length);
}

async function add(event) {
  event.preventDefault();
  const title = find("title");
  if (await asUser("POST", "/api/todo/items", JSON.stringify({ title: title.value }))) {
    title.value = "";
    await list();
  }
  title.focus();
}

// busy keeps a button from being pressed twice.
async function busy(button, action) {
  button.setAttribute("aria-disabled", "true");
  try {
    await action();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

// ---- Cases

function caseUser() {
  const name = (account?.username ?? "").split("@")[0];
  return name === "bob" ? "bob" : "alice";
}

// runCase causes a case. After a step-up it does so with the user's new token.
async function runCase(name, steppedUp = false) {
  const result = document.querySelector(`[data-result="${CSS.escape(name)}"]`);
  const report = (...content) => {
    result.replaceChildren(...content);
    result.hidden = false;
  };
  let request, answer, problem;
  try {
    const prepared = await fetch(`/demo/cases/${encodeURIComponent(name)}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user: caseUser() }),
    });
    if (!prepared.ok) throw new Error(await prepared.text());
    request = await prepared.json();
    const bearer = steppedUp ? await token() : request.token;
    answer = await send(request.method, request.path, bearer, request.body, request.requestId);
    problem = await answer.json();
  } catch (error) {
    report(`The demo does not answer: ${error.message}`);
    return;
  }
  const type = problemType({ problem });
  const outcome = [steppedUp ? "With the new token:" : "", answer.status, type].filter(Boolean).join(" ");
  report(element("strong", {}, outcome), ". ", whatHappened(request.requestId));
  if (type === "claims-challenge") result.append(stepUp(name, answer.headers.get("WWW-Authenticate") ?? ""));
}

// stepUp offers to answer a claims challenge: a sign-in with the challenge's claims.
function stepUp(name, challenge) {
  const claims = /claims="([^"]+)"/.exec(challenge)?.[1];
  if (!account || !claims) return element("span", {}, ". Sign in first, and you can answer the challenge.");
  const button = element("button", { type: "button", class: "primary", id: "prove" }, "Prove that it is you");
  onPress(button, async () => {
    sessionStorage.setItem(pendingKey, name);
    await client.acquireTokenRedirect({ scopes, account, claims: atob(claims) });
  });
  return element("span", { class: "answer" }, button, " This sends you to the platform, and repeats the call.");
}

// ---- Flows

const flows = new Map();
let selected = null; // the ID of the flow that is shown; null: the newest
let run = "";
let events = null;
let lastEvent = "";

// listen opens the stream of flows while the page can be seen: browsers allow six
// connections to a host.
function listen() {
  events?.close();
  events = null;
  if (document.hidden) return;
  events = new EventSource(`/demo/flow?after=${encodeURIComponent(lastEvent)}`);
  events.addEventListener("open", () => show("gone", false));
  events.addEventListener("error", () => show("gone", true));
  events.addEventListener("run", (event) => {
    if (run && run !== event.data) flows.clear(); // the demo was restarted
    run = event.data;
  });
  events.addEventListener("message", (event) => {
    const flow = JSON.parse(event.data);
    lastEvent = event.lastEventId;
    const known = flows.get(flow.id);
    flows.set(flow.id, flow);
    if (flows.size > 50) flows.delete(Math.min(...flows.keys()));
    if (!known) selected = null;
    showFlows();
    if (flow.done) say(`${flow.method} ${flow.path}: ${summary(flow)}`);
  });
}

function say(text) {
  find("status").textContent = text;
}

let drawn = ""; // what the drawing shows, so that it moves only once

function showFlows() {
  const ids = [...flows.keys()].sort((a, b) => b - a);
  const flow = flows.get(selected ?? ids[0]);
  show("no-flow", !flow);
  show("flow-view", Boolean(flow));
  show("history", ids.length > 1);
  if (!flow) return;
  find("call").textContent = `${flow.method} ${flow.path}: ${summary(flow)}`;
  const isNew = drawn !== String(flow.id);
  drawn = String(flow.id);
  if (isNew) find("flow").scrollTop = 0; // where the column scrolls by itself
  find("drawing").replaceChildren(...draw(flow, isNew));
  find("timing").textContent = timing(flow);
  show("timing", Boolean(timing(flow)));
  showProblem(flow);
  showTokens(flow);
  find("calls").replaceChildren(...ids.slice(0, 12).map((id) => historyEntry(flows.get(id), id === flow.id)));
}

function historyEntry(flow, isShown) {
  const at = new Date(flow.time).toLocaleTimeString();
  const button = element("button", { type: "button", "aria-pressed": String(isShown), "data-flow": flow.id },
    `${at} ${flow.method} ${flow.path}: ${summary(flow)}`);
  button.addEventListener("click", () => {
    selected = flow.id;
    showFlows();
    find("call").focus(); // the drawing may be far above
  });
  return element("li", {}, button);
}

function showProblem(flow) {
  show("problem", Boolean(flow.problem));
  if (!flow.problem) return;
  find("problem-title").textContent = flow.problem.title ?? "";
  find("problem-detail").textContent = flow.problem.detail ?? "";
  const link = find("problem-link"), type = problemType(flow);
  link.hidden = !String(flow.problem.type).startsWith(`${location.origin}/problems/`);
  if (!link.hidden) link.href = flow.problem.type;
  link.textContent = `What ${type} means, and who must act (in a new tab)`;
  const headers = [flow.challenge && `WWW-Authenticate: ${flow.challenge}`, flow.retryAfter && `Retry-After: ${flow.retryAfter}`];
  find("problem-text").textContent = [...headers, JSON.stringify(flow.problem, null, 2)].filter(Boolean).join("\n\n");
}

function comparison(left, right) {
  if (!left && right) return "The browser sent a cookie and no token. The middle tier took the session's, and traded it for this one.";
  if (!right) return "The API got no token. This is what the caller sent.";
  const marked = "What changed is marked. The API never sees the caller's token, and the caller never sees the API's.";
  if (right.scp === undefined) return `Neither token has a user. ${marked}`;
  return left?.oid === right.oid ? `Both are about the same user. ${marked}` : marked;
}

function showTokens(flow) {
  const right = traded(flow);
  show("tokens", Boolean(flow.caller || right));
  find("tokens-text").textContent = comparison(flow.caller, right);
  find("token-table").replaceChildren(...tokens(flow));
}

// ---- Start

const onPress = (button, action) => button.addEventListener("click", () => {
  if (button.getAttribute("aria-disabled") !== "true") busy(button, action);
});
onPress(find("sign-in"), () => signIn());
onPress(find("sign-out"), signOut);
onPress(find("list"), list);
find("add").addEventListener("submit", add);
for (const button of document.querySelectorAll("[data-case]")) onPress(button, () => runCase(button.dataset.case));
document.addEventListener("visibilitychange", listen);
listen();
start();
startSession();

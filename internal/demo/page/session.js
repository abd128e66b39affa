// The second way to sign in: the middle tier holds the tokens, the browser a cookie. These are the
// calls of Duende's BFF, so pages written for it look like this.

const find = (id) => document.getElementById(id);
const show = (id, visible) => { find(id).hidden = !visible; };

let logoutUrl = "";

// call sends a request with the session's cookie. The header is what the middle tier asks of every
// page: one of another site could send it only after asking, and is not allowed to.
async function call(method, path, requestId = crypto.randomUUID()) {
  return fetch(path, { method, headers: { "X-CSRF": "1", "X-Request-ID": requestId } });
}

// showSession asks who is signed in. With slide=false this does not count as use of the session.
export async function showSession() {
  let claims = null;
  try {
    const answer = await call("GET", "/bff/user?slide=false");
    if (answer.ok) claims = await answer.json();
    else if (answer.status !== 401) throw new Error(`the middle tier answered ${answer.status}`);
    show("session-error", false);
  } catch (error) {
    showError(`Nobody knows whether you are signed in: ${error.message}.`);
  }
  const claim = (type) => claims?.find((c) => c.type === type)?.value;
  logoutUrl = claim("bff:logout_url") ?? "";
  show("session-out", !claims);
  show("session-in", Boolean(claims));
  find("session-user").textContent = claim("preferred_username") ?? claim("name") ?? "";
  find("session-left").textContent = `${Math.round(Number(claim("bff:session_expires_in") ?? 0) / 60)} minutes`;
  showHeld(claims);
}

function showError(text) {
  find("session-error").textContent = text;
  show("session-error", true);
}

// item is an entry of a list, as text.
function item(text) {
  const made = document.createElement("li");
  made.textContent = text;
  return made;
}

function showHeld(claims) {
  const cookies = document.cookie || "no cookie: the session's is HttpOnly";
  const user = claims ? `${claims.length} claims of /bff/user, such as the name` : "no claims: nobody is signed in";
  find("session-holds").replaceChildren(item(cookies), item(user), item("no token"));
}

// showMSAL lists the tokens that MSAL.js keeps in sessionStorage, shortened.
export function showMSAL() {
  const held = Object.values(sessionStorage).flatMap((value) => {
    try {
      const { credentialType, secret } = JSON.parse(value);
      return credentialType && secret ? [`${credentialType}: ${secret.slice(0, 16)}… (${secret.length} characters)`] : [];
    } catch { // something else that the tab remembers
      return [];
    }
  }).sort();
  find("msal-holds").replaceChildren(...(held.length ? held : ["no token: nobody is signed in"]).map(item));
}

// The platform sends the user back to the page, whose address is the default.
function signIn() {
  location.assign(`/bff/login?returnUrl=${encodeURIComponent("/")}`);
}

function signOut() {
  if (logoutUrl) location.assign(logoutUrl);
}

// use calls the API, and shows what came of it. Where the user has to act first, the answer says at which
// address. key remembers what to do after that.
async function use(key, requestId) {
  const answer = await call("GET", "/bff/api/todo/items", requestId);
  const body = await answer.json();
  const result = find("session-result");
  show("session-result", true);
  if (answer.ok) {
    result.textContent = `${answer.status}: the API has ${body.length} items of yours.`;
    return;
  }
  const type = String(body.type ?? "").split("/").pop();
  result.textContent = `${answer.status} ${type}. `;
  if (answer.status === 401 && type === "session-required") await showSession();
  if (!body.loginUrl) return;
  const button = document.createElement("button");
  Object.assign(button, { type: "button", id: "session-prove", className: "primary", textContent: "Do what is asked" });
  button.addEventListener("click", () => {
    sessionStorage.setItem(pendingKey, key);
    location.assign(body.loginUrl);
  });
  result.append(button, " This sends you to the platform, and repeats the call.");
}

// The page remembers in the tab what to repeat after a step-up.
const pendingKey = "middletier-demo-session-pending";

// stepUp calls the API in the case in which it demands more proof of who the user is.
async function stepUp() {
  const prepared = await fetch("/demo/cases/step-up", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
  });
  await use("step-up", (await prepared.json()).requestId);
}

async function run(action) {
  try {
    await action();
  } catch (error) {
    showError(`The demo does not answer: ${error.message}`);
  }
}

// start shows the session, and repeats what a sign-in interrupted.
export async function startSession() {
  find("session-sign-in").addEventListener("click", signIn);
  find("session-sign-out").addEventListener("click", signOut);
  find("session-call").addEventListener("click", () => run(() => use("call")));
  find("session-step-up").addEventListener("click", () => run(stepUp));
  await showSession();
  const pending = sessionStorage.getItem(pendingKey);
  sessionStorage.removeItem(pendingKey);
  if (find("session-in").hidden || !pending) return;
  await run(pending === "step-up" ? stepUp : () => use("call"));
}

// The live page. Once a second it asks the router what it believes and what
// happened, and shows that. What it shows came over the network, so it only ever
// becomes text: nothing here writes HTML.

"use strict";

const pollMs = 1000;
const patienceMs = 5000;
const requestsShown = 50;
const tokenKey = "proxima-token";

const $ = (id) => document.getElementById(id);

let timer = 0;

// poll asks, shows, and comes back. A tab nobody looks at asks nothing.
async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const failed = $("only-failed").checked;
    const [status, requests] = await Promise.all([
      ask("/v1/status"),
      ask(`/v1/requests?limit=${requestsShown}&failed=${failed}`),
    ]);
    connected();
    show(status, requests);
  } catch (trouble) {
    if (trouble.status === 401) {
      askForToken(trouble);
      return;
    }
    disconnected(trouble);
  }
  clearTimeout(timer);
  timer = setTimeout(poll, pollMs);
}

// ask returns the body of an answer and the router's own time, by which ages are
// told. An answer that is a problem is thrown, with its status.
async function ask(path) {
  const token = sessionStorage.getItem(tokenKey);
  const response = await fetch(path, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(patienceMs),
  });
  if (!response.ok) throw await problem(response);
  return { body: await response.json(), now: Date.parse(response.headers.get("Date")) || Date.now() };
}

async function problem(response) {
  const told = await response.json().catch(() => ({}));
  const text = [told.detail || `the router answered ${response.status}`, told.hint].filter(Boolean).join(": ");
  return Object.assign(new Error(text), { status: response.status });
}

// How the connection is.

// connection says it only when it changed, so that a screen reader does too.
function connection(text, kind) {
  if ($("connection").textContent === text) return;
  $("connection").textContent = text;
  $("connection").className = `connection ${kind}`;
}

function connected() {
  connection("live", "live");
  $("trouble").hidden = true;
  $("sign-in").hidden = true;
  $("live").hidden = false;
  $("live").classList.remove("stale");
}

function disconnected(trouble) {
  connection(trouble.status ? "not served" : "connection lost", "lost");
  $("trouble").textContent = trouble.status
    ? trouble.message
    : "The router does not answer. What is shown is how it was last seen; this page goes on asking.";
  $("trouble").hidden = false;
  $("live").classList.add("stale");
}

function askForToken(trouble) {
  connection("token needed", "");
  $("trouble").textContent = trouble.message;
  $("trouble").hidden = !sessionStorage.getItem(tokenKey);
  $("live").hidden = true;
  $("sign-in").hidden = false;
  $("token").focus();
}

// What the router is doing.

function show(status, requests) {
  if (!document.getSelection().isCollapsed) return; // somebody is copying text
  const { version, config, regions, self_suspicion, steering } = status.body;
  $("about").textContent = [
    version,
    config.hash && `configuration ${config.hash.slice(0, 12)}`,
    config.loaded_at && `loaded ${ago(config.loaded_at, status.now)}`,
  ].filter(Boolean).join(" · ");
  if (config.refused) {
    $("trouble").textContent = `The newest configuration was refused ${ago(config.refused.at, status.now)}: ${config.refused.why}`;
    $("trouble").hidden = false;
  }
  say("suspicion", self_suspicion && suspicion(self_suspicion));
  say("steering", steering.otherwise && otherSteering(steering.otherwise));
  $("totals").replaceChildren(...totals(regions));
  $("regions").replaceChildren(...regions.map((region) => regionCard(region, status.now)));
  const rows = requests.body.requests;
  $("request-rows").replaceChildren(...rows.map(requestRow));
  $("requests").hidden = rows.length === 0;
  $("no-requests").hidden = rows.length > 0;
}

// say shows a sentence, or nothing where there is none. It changes only what is
// different, so that a screen reader says it once.
function say(id, sentence) {
  if (sentence && $(id).textContent !== sentence) $(id).textContent = sentence;
  $(id).hidden = !sentence;
}

const suspicion = ({ since, detail }) =>
  `This router suspects its own network since ${new Date(since).toLocaleTimeString()}: ${detail}. Meanwhile failures change no health.`;

function otherSteering({ by, sampled, moved_ratio, difference_ms }) {
  const ms = Math.round(difference_ms);
  const costs = ms ? `${Math.abs(ms)} ms ${ms > 0 ? "more" : "less"}` : "as much";
  const compared = `${sampled} request${sampled === 1 ? "" : "s"} compared`;
  return `steering.by ${by} would send ${Math.round(100 * moved_ratio)} % elsewhere; by its measure the present choices cost ${costs} (${compared}).`;
}

function totals(regions) {
  const endpoints = regions.flatMap((region) => region.endpoints);
  const up = endpoints.filter((endpoint) => endpoint.health === "up");
  const serving = regions.filter((region) => region.endpoints.some((e) => e.health === "up" && !e.drained));
  const inFlight = endpoints.reduce((sum, endpoint) => sum + endpoint.in_flight, 0);
  return [
    fact("Regions serving", `${serving.length} of ${regions.length}`),
    fact("Endpoints up", `${up.length} of ${endpoints.length}`),
    fact("Drained", endpoints.filter((endpoint) => endpoint.drained).length),
    fact("In flight", inFlight),
  ];
}

function regionCard(region, now) {
  const place = `${region.country ? region.country + " · " : ""}${degrees(region.lat, "N", "S")} ${degrees(region.lon, "E", "W")}`;
  return make("article", "region",
    make("header", "",
      make("h3", "", region.id),
      region.drained && make("span", "drained", "drained"),
      make("span", "quiet", place)),
    ...region.endpoints.map((endpoint) => endpointRow(endpoint, now)),
    region.endpoints.length === 0 && make("p", "endpoint quiet", "No endpoints."));
}

function endpointRow(endpoint, now) {
  const since = endpoint.since ? ` for ${age(endpoint.since, now)}` : "";
  return make("div", "endpoint",
    make("div", "title",
      make("span", "name", endpoint.id),
      make("span", "",
        endpoint.drained && make("span", "drained", "drained"),
        " ",
        make("span", `health ${endpoint.health}`, endpoint.health + since))),
    make("p", "address", `${endpoint.url} · ${endpoint.models.join(", ") || "every model"}`),
    endpoint.cause && make("p", `cause ${endpoint.health}`, endpoint.cause),
    make("dl", "facts",
      fact("in flight", inFlight(endpoint)),
      fact("serve", milliseconds(endpoint.serve_ms)),
      fact("probe", milliseconds(endpoint.latency_ms))),
    known(endpoint) && bar(endpoint.in_flight / known(endpoint)));
}

// inFlight shows a load beside the capacities that are known: 12/32 (learned 24).
function inFlight({ in_flight, capacity, learned_capacity }) {
  const learned = learned_capacity === null ? "" : ` (learned ${learned_capacity})`;
  return `${in_flight}${capacity ? `/${capacity}` : ""}${learned}`;
}

// known is the smaller of the capacities that are known; 0: neither is.
function known({ capacity, learned_capacity }) {
  const least = Math.min(capacity || Infinity, learned_capacity || Infinity);
  return Number.isFinite(least) ? least : 0;
}

function bar(share) {
  const filled = make("span", "");
  filled.style.width = `${Math.min(100, 100 * share)}%`;
  return make("div", share >= 1 ? "bar full" : "bar", filled);
}

function requestRow(request) {
  const good = request.complete && request.status < 400;
  const verdict = request.problem || (request.complete ? "" : "incomplete");
  return make("tr", "",
    cell("Time", "time", new Date(request.time).toLocaleTimeString()),
    cell("Status", "", make("span", good ? "good" : "bad", request.status || "none"), verdict && make("small", "", verdict)),
    cell("Request", "", make("span", "", request.model || "no model"), make("small", "", `${request.method} ${request.path}`)),
    cell("Client", "", make("span", "", request.country || "–"), make("small", "", request.client)),
    cell("Served by", "", make("span", "", request.endpoint || "–"), ...attempts(request)),
    cell("First byte", "number", milliseconds(request.ttfb_ms)),
    cell("Total", "number", milliseconds(request.elapsed_ms)));
}

// attempts tells what went wrong before, or at last.
function attempts(request) {
  return request.attempts
    .filter((attempt) => attempt.outcome !== "served")
    .map((attempt) => make("small", "", [
      attempt.endpoint, attempt.outcome, attempt.status || "", milliseconds(attempt.ms), attempt.error,
    ].filter(Boolean).join(" · ")));
}

// Elements. Strings become text nodes; false and "" leave a place out.

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== false && child !== "" && child != null));
  return element;
}

// cell carries its column's name for narrow screens, which show no table head.
function cell(label, className, ...children) {
  const td = make("td", className, ...children);
  td.dataset.label = label;
  return td;
}

const fact = (name, value) => make("div", "", make("dt", "", name), make("dd", "", String(value)));

// Figures.

function milliseconds(ms) {
  if (!ms) return "–";
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(1)} ms`;
}

const degrees = (x, positive, negative) => `${Math.abs(x).toFixed(1)}° ${x < 0 ? negative : positive}`;

function age(time, now) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const ago = (time, now) => `${age(time, now)} ago`;

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(tokenKey, $("token").value.trim());
  $("token").value = "";
  poll();
});
$("only-failed").addEventListener("change", poll);
document.addEventListener("visibilitychange", poll);
poll();

// The frame of the page: header, views by the address behind #, and what happens on the server.
import { get, post } from "./api.js";
import { button, doing, explain, fill, h, icon } from "./dom.js";
import { create } from "./create.js";
import { home } from "./home.js";
import { personPage } from "./person.js";
import { queuePage } from "./queue.js";
import { language, languages, setLanguage, t } from "./texts.js";
import { verifyPage } from "./verify.js";

const main = document.getElementById("main");
const state = { about: null, queue: { jobs: [], other: [], note: "" }, view: null };
const watchers = new Set();

/** What views use of the frame. */
export const frame = {
  get about() { return state.about; },
  get queue() { return state.queue; },
  /** Call with the queue now and after every change, until the view is left. */
  watch(call) { watchers.add(call); call(state.queue); },
  go(address) { location.hash = address; },
  redraw() { show(); },
};

const VIEWS = [
  [/^#?\/?$/, () => home(frame)],
  [/^#\/new$/, () => create(frame)],
  [/^#\/queue$/, () => queuePage(frame)],
  [/^#\/verify$/, () => verifyPage(frame)],
  [/^#\/p\/([^/]+)(?:\/(\w+))?$/, (key, tab) => personPage(frame, decodeURIComponent(key), tab || "speak")],
];

async function show() {
  state.view?.leave?.();
  watchers.clear();
  const slow = setTimeout(() => fill(main, h("div.slow", { "aria-busy": "true" })), 200);
  drawHeader();
  const [pattern, make] = VIEWS.find(([one]) => one.test(location.hash)) || VIEWS[0];
  try {
    const view = await make(...(location.hash.match(pattern)?.slice(1) || []));
    clearTimeout(slow);
    state.view = view;
    fill(main, view.element);
    document.title = view.title ? `${view.title} · Avatar Studio` : "Avatar Studio";
    document.body.classList.toggle("filming", !!view.filming);
  } catch (error) {
    clearTimeout(slow);
    fill(main, h("section.empty", {}, h("h1", {}, t("not-here")), h("p", {}, explain(error)),
      h("a.button", { href: "#/" }, t("to-people"))));
  }
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

function drawHeader() {
  const here = (address) => (location.hash || "#/") === address ? "page" : null;
  const active = state.queue.jobs.filter((job) => ["waiting", "running"].includes(job.state)).length;
  const failed = state.queue.jobs.length - active;
  document.querySelector(".skip").textContent = t("skip");
  document.querySelector(".skip").href = "#main";
  fill(document.getElementById("top"),
    h("a.brand", { href: "#/", "aria-label": "Avatar Studio" }, h("img", { src: "/page/icon.svg", alt: "", width: 28, height: 28 }),
      h("span", {}, "Avatar Studio")),
    h("nav", { "aria-label": t("navigation") },
      h("a", { href: "#/", "aria-current": here("#/") }, t("people")),
      h("a", { href: "#/queue", "aria-current": here("#/queue") }, t("queue"),
        active + failed > 0 && h(`span.count${failed ? ".bad" : ""}`, { "aria-label": t("jobs", { n: active + failed }) },
          String(active + failed))),
      h("a", { href: "#/verify", "aria-current": here("#/verify") }, t("verify"))),
    h("label.language", {}, h("span.unseen", {}, t("language")),
      h("select", { onchange: (event) => { setLanguage(event.target.value); show(); } },
        languages.map(([code, name]) => h("option", { value: code, selected: code === language() }, name)))));
}

function listen() {
  const source = new EventSource("/api/events");
  source.addEventListener("queue", (event) => {
    state.queue = JSON.parse(event.data);
    document.body.classList.remove("offline");
    drawHeader();
    for (const call of watchers) call(state.queue);
  });
  source.addEventListener("open", () => document.body.classList.remove("offline"));
  source.addEventListener("error", () => {
    document.body.classList.add("offline");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

/** A token stands behind # in the address that was printed; it becomes a cookie. */
async function signIn() {
  const given = location.hash.match(/^#token=(.+)$/)?.[1];
  if (given) {
    history.replaceState(null, "", "#/");
    await post("/api/session", { token: given });
  }
  try {
    state.about = await get("/api/about");
  } catch (error) {
    if (error.status !== 401) throw error;
    await askForToken();
  }
}

function askForToken() {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
    const enter = doing(async (event) => {
      event.preventDefault();
      await post("/api/session", { token: input.value.trim() });
      state.about = await get("/api/about");
      resolve();
    });
    fill(main, h("form.card.narrow", { onsubmit: enter }, icon("shield"), h("h1", {}, t("token-title")),
      h("label", { for: "token" }, t("token-hint")), input, h("button.primary", { type: "submit" }, t("token-enter"))));
    input.focus();
  });
}

async function start() {
  document.documentElement.lang = language();
  try {
    await signIn();
  } catch (error) {
    fill(main, h("section.empty", {}, h("h1", {}, t("not-here")), h("p", {}, explain(error)),
      button(t("try-again"), () => location.reload(), { sign: "again", kind: "primary" })));
    return;
  }
  addEventListener("hashchange", () => { if (location.hash !== "#main") show(); });
  await show();
  listen();
}

start();

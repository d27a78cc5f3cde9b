// The page: one session, its voice, and what it shows.
import { Link } from "./link.js";
import { checkConnection } from "./check.js";
import { openView } from "./motion.js";
import { connectPeer } from "./peer.js";

const by = (id) => document.getElementById(id);
const server = new URL("./", location.href);
let link = null, microphone = null;

function token() { return by("token").value || sessionStorage.getItem("token") || ""; }
function say(text) { by("state").textContent = text; }

export async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}), ...(token() ? { Authorization: `Bearer ${token()}` } : {}) };
  return fetch(new URL(path, server), { ...options, headers });
}

async function listAvatars() {
  const answer = await ask("v1/avatars");
  by("token-row").hidden = answer.status !== 401 && !token();
  if (!answer.ok) { say(answer.status === 401 ? "give a token" : (await answer.json()).error); return; }
  if (by("token").value) sessionStorage.setItem("token", by("token").value);
  const { avatars } = await answer.json();
  by("avatar").replaceChildren(...avatars.map(({ name }) => new Option(name, name)));
}

async function connect() {
  const transport = by("transport").value, voice = by("voice").value;
  link = new Link(server, token(), {
    avatar: by("avatar").value, transport, live: voice === "microphone",
    ...scene(),
  }, transport === "mp4" ? by("video") : newCanvas());
  const opened = link.openSound();
  link.addEventListener("ended", ({ detail }) => disconnect(detail));
  link.addEventListener("error", ({ detail }) => say(detail.error));
  link.addEventListener("playback_started", () => say("speaks"));
  link.addEventListener("playback_finished", ({ detail }) => say(detail.interrupted ? "interrupted" : "idle"));
  link.addEventListener("buffer", ({ detail }) => say(detail.full ? `${detail.seconds} s of sound wait` : "speaks"));
  link.addEventListener("ready", async ({ detail }) => {
    say("connected");
    if (detail.drawing) {
      const open = link;
      open.view = await openView(server, ask, detail.drawing, open.canvas).catch((error) => disconnect(error.message));
      if (open.view) open.view.onfree = () => open.draw();
    }
    if (transport === "webrtc") await connectPeer(ask, detail.session, by("video"), link).catch((error) => disconnect(error.message));
    await opened; // pictures need not wait for the sound output, which some browsers open late
    if (!link) return;
    if (voice === "microphone") await record();
    if (voice === "file") await sendFile();
  });
  by("video").hidden = !["webrtc", "mp4"].includes(transport);
  by("picture").hidden = !by("video").hidden;
  by("connect").textContent = "Disconnect";
  by("interrupt").disabled = false;
  await opened;
}

// Background, light and grade as they are chosen; null: as the server has them.
function scene() {
  return {
    background: by("own-background").checked ? by("background").value : null,
    light: by("light").value || null, grade: by("grade").checked ? "match" : null,
  };
}

// What was drawn into a canvas decides what can be drawn into it later.
function newCanvas() {
  const canvas = by("picture").cloneNode();
  by("picture").replaceWith(canvas);
  return canvas;
}

function disconnect(reason) {
  const open = link;
  link = null;
  open?.peer?.close();
  open?.close();
  microphone?.getTracks().forEach((track) => track.stop());
  microphone = null;
  by("connect").textContent = "Connect";
  by("interrupt").disabled = true;
  say(reason ?? "not connected");
}

async function record() {
  microphone = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  }).catch((error) => { disconnect(`no microphone: ${error.message}`); return null; });
  if (!microphone || !link) return;
  const recorder = new AudioWorkletNode(link.audio, "recording", { numberOfOutputs: 0 });
  recorder.port.onmessage = ({ data }) => link?.push(data);
  link.audio.createMediaStreamSource(microphone).connect(recorder);
}

async function sendFile() {
  const [file] = by("file").files;
  if (!file) { disconnect("choose a sound file"); return; }
  const { rate } = link.start;
  const sound = await new OfflineAudioContext(1, rate, rate).decodeAudioData(await file.arrayBuffer())
    .catch(() => null);
  if (!sound) { disconnect("the file holds no sound that this browser reads"); return; }
  const pcm = Int16Array.from(sound.getChannelData(0), (value) => Math.max(-32768, Math.min(32767, value * 32767)));
  for (let start = 0; start < pcm.length; start += rate / 2) link?.push(pcm.slice(start, start + rate / 2));
  link?.send({ type: "end" });
}

function show(id, value, unit, digits = 0) {
  by(id).textContent = value === null || !Number.isFinite(value) ? "-" : `${value.toFixed(digits)} ${unit}`;
}

let before = 0;
setInterval(() => {
  const stats = link?.stats;
  show("latency", stats && stats.latency !== null ? stats.latency * 1e3 : null, "ms");
  show("drift", stats ? stats.drift * 1e3 : null, "ms");
  show("fps", stats ? stats.shown - before : null, "");
  show("trip", stats && stats.trip !== null ? stats.trip * 1e3 : null, "ms");
  show("waiting", stats ? stats.waiting * 1e3 : null, "ms");
  before = stats?.shown ?? 0;
}, 1000);

by("panel").addEventListener("submit", (event) => {
  event.preventDefault();
  if (link) disconnect(); else connect().catch((error) => disconnect(error.message));
});
by("interrupt").addEventListener("click", () => link?.clear());
by("voice").addEventListener("change", () => { by("file-row").hidden = by("voice").value !== "file"; });
by("text").addEventListener("keydown", async (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  if (!link?.ready) { say("connect first"); return; }
  const answer = await ask(`v1/sessions/${link.ready.session}/say`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text: by("text").value }),
  });
  if (answer.ok) by("text").value = ""; else say((await answer.json()).error);
});
by("token").addEventListener("change", listAvatars);
by("check").addEventListener("click", () => checkConnection(ask, server, token(), by("checks")));
by("listening").addEventListener("change", () =>
  link?.send({ type: "control", state: by("listening").checked ? "listening" : "idle" }));
for (const name of ["own-background", "background", "light", "grade"]) {
  by(name).addEventListener("change", () => {
    const { background, light, grade } = scene();
    link?.send({ type: "control", background: background ?? "own", light, grade: grade ?? "none" });
  });
}
for (const name of ["mouth_gain", "head", "gaze"]) {
  by(name).addEventListener("input", () => link?.send({ type: "control", controls: { [name]: Number(by(name).value) } }));
}
listAvatars().catch(() => say("the server does not answer"));

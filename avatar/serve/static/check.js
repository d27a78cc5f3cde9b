// What stands between this browser and the server, each in a line that says what to do.
import { gathered } from "./peer.js";

const WAIT_SECONDS = 5;

export async function checkConnection(ask, server, token, list) {
  list.replaceChildren();
  const tell = (good, text) => {
    const line = document.createElement("li");
    line.textContent = `${good ? "ok" : "no"}: ${text}`;
    line.className = good ? "good" : "bad";
    list.append(line);
  };
  tell(isSecureContext, isSecureContext ? "the page is secure" : "use https or localhost: browsers give no microphone here");
  tell("VideoDecoder" in globalThis, "VideoDecoder" in globalThis ? "pictures can be decoded (WebCodecs)"
    : "no WebCodecs: use MP4 or WebRTC, or a newer browser by https");
  const health = await ask("healthz").catch(() => null);
  tell(health?.ok, health ? `the server says: ${await health.text()}` : "the server does not answer: is it running?");
  const avatars = await ask("v1/avatars").catch(() => null);
  if (avatars) tell(avatars.ok, avatars.ok ? "the token is accepted, or none is needed" : (await avatars.json()).error);
  await checkSocket(server, token, tell);
  await checkPeers(ask, tell);
}

function checkSocket(server, token, tell) {
  return new Promise((resolve) => {
    const address = new URL("v1/live", server);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, token ? ["avatar.v1", `bearer.${token}`] : ["avatar.v1"]);
    const end = (good, text) => { tell(good, text); socket.close(); resolve(); };
    socket.onopen = () => end(true, "WebSockets get through");
    socket.onerror = () => end(false, "WebSockets do not: a proxy must pass on Upgrade and Connection");
    setTimeout(() => socket.readyState === WebSocket.CONNECTING && end(false, "WebSockets get no answer"), WAIT_SECONDS * 1e3);
  });
}

async function checkPeers(ask, tell) {
  if (!("RTCPeerConnection" in globalThis)) { tell(false, "no WebRTC in this browser"); return; }
  const answer = await ask("v1/ice").catch(() => null);
  const settings = answer?.ok ? await answer.json() : {}, kinds = new Set(), errors = [];
  const peer = new RTCPeerConnection(settings);
  peer.onicecandidate = ({ candidate }) => { if (candidate?.type) kinds.add(candidate.type); };
  peer.onicecandidateerror = ({ url, errorText }) => errors.push(`${url}: ${errorText}`);
  peer.addTransceiver("video", { direction: "recvonly" });
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  tell(kinds.has("host"), kinds.has("host") ? "this machine has an address for WebRTC" : "no address: is UDP forbidden?");
  const servers = (settings.iceServers ?? []).flatMap(({ urls }) => urls);
  for (const [kind, word] of [["srflx", "stun:"], ["relay", "turn"]]) {
    if (!servers.some((url) => url.startsWith(word))) continue;
    tell(kinds.has(kind), kinds.has(kind) ? `${word} works` : `${word} gives no address: ${errors.join("; ") || "is its port open?"}`);
  }
  if (!servers.length) tell(true, "no STUN or TURN is set: WebRTC works in this network only");
  peer.close();
}

// Run in the page of `avatar serve` by bench_live: speaks in real time, and notes when which frame was shown.
async ({ transport, codec, pcm, rate, piece, seconds }) => {
  const { Link } = await import("/static/link.js");
  const { connectPeer } = await import("/static/peer.js");
  const samples = new Int16Array(Uint8Array.from(atob(pcm), (c) => c.charCodeAt(0)).buffer);
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const begun = performance.now(), shown = [], found = { shown, first: null };
  const link = new Link(location.href, "", { rate, live: true, transport, codec }, document.createElement("canvas"));
  const note = (index, now) => {
    found.first ??= now * 1e3 - begun;
    const latency = link.sentLog.since(index, now);
    if (latency !== null) shown.push([index, latency * 1e3, link.stats.drift * 1e3]);
  };
  link.addEventListener("shown", ({ detail }) => note(detail.index, detail.now));
  link.addEventListener("ended", ({ detail }) => { found.ended = detail; });
  await link.openSound();
  for (let waited = 0; !link.ready && waited < 10000; waited += 5) await sleep(5);
  if (!link.ready) return { ...found, ended: found.ended ?? "the server did not answer" };
  found.ready = performance.now() - begun;
  if (transport === "webrtc") {
    const video = document.body.appendChild(document.createElement("video"));
    Object.assign(video, { muted: true, autoplay: true, playsInline: true });
    await connectPeer((path, options) => fetch(new URL(path, location.href), options), link.ready.session, video, link);
    const each = (now, { rtpTimestamp, expectedDisplayTime }) => {
      note(Math.round(rtpTimestamp / 3600), Math.max(now, expectedDisplayTime) / 1e3);
      if (!link.over) video.requestVideoFrameCallback(each);
    };
    video.requestVideoFrameCallback(each);
    await sleep(1500);
  }
  const start = performance.now();
  for (let at = 0; at < seconds * rate; at += piece) {
    for (let left; (left = start + at / rate * 1e3 - performance.now()) > 0;) await sleep(left);
    const from = at % (samples.length - samples.length % piece);
    link.push(samples.slice(from, from + piece));
  }
  await sleep(500);
  const { baseLatency, outputLatency } = link.audio;
  Object.assign(found, { gaps: link.stats.gaps, clock: { ...link.clock, baseLatency, outputLatency } });
  link.peer?.close();
  link.close();
  return found;
}

// The page's player when speech begins after silence and the server's clock begins anew for it. Prints JSON.
import { FRAME_SECONDS, SoundPlayer } from "../avatar/serve/static/player.js";

const rate = 24000, quantum = 128, idle = 50, step = 0.03; // s that frames come sooner from the first word on
let seed = 7;
const random = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };
const due = (frame) => frame * FRAME_SECONDS - (frame < idle ? 0 : step);

const player = new SoundPlayer(rate), out = new Float32Array(quantum), found = { before: 0, after: 0 };
let sent = 0, arrives = due(0);
for (let now = 0; sent < 3 * idle; now += quantum / rate) {
  while (arrives <= now) {
    player.push(sent, new Float32Array(rate * FRAME_SECONDS).fill(sent < idle ? 0 : 0.1), now);
    sent++;
    arrives = due(sent) + 0.003 * random();
  }
  player.pull(out);
  const latency = now - due(player.played);
  if (sent === idle - 5) found.before = latency;
  if (sent > 2 * idle) found.after = latency;
}
console.log(JSON.stringify({ ...found, gaps: player.gaps, owed: player.owed }));

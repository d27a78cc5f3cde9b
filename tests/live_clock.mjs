// Eight hours of the page's player: a listener's clock that is off, a network that delays and loses. Prints JSON.
import { FRAME_SECONDS, PictureQueue, SoundPlayer } from "../avatar/serve/static/player.js";

const [hours, skew] = process.argv.slice(2).map(Number);
const rate = 1000, quantum = 8; // samples: what is counted is time, not sound
let seed = 1;
const random = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };

const player = new SoundPlayer(rate), pictures = new PictureQueue(() => {}), out = new Float32Array(quantum);
const frames = Math.round(hours * 3600 / FRAME_SECONDS);
let sent = 0, arrives = 0, shown = -1, worst = 0, last = 0, mostWaiting = 0, early = 0, waits = 0, count = 0;
for (let tick = 0; sent < frames; tick++) {
  const now = tick * quantum / rate / (1 + skew); // a fast clock asks for more samples a second
  while (arrives <= now && sent < frames) {
    const level = sent % 100 < 25 ? 0 : 0.1; // a pause of a second in four
    player.push(sent, new Float32Array(rate * FRAME_SECONDS).fill(level), now);
    pictures.push(sent, null);
    sent++;
    // in order, as TCP delivers: jitter of 100 ms, and a packet of fifty sent again 200 ms later
    const delay = 0.02 + 0.1 * random() ** 4 + (random() < 0.02 ? 0.2 : 0);
    arrives = Math.max(arrives, sent * FRAME_SECONDS + delay);
  }
  player.pull(out);
  const found = pictures.take(player.played);
  if (found) shown = found.index;
  if (player.playing && shown >= 0) {
    last = (player.played - shown - 0.5) * FRAME_SECONDS;
    worst = Math.max(worst, Math.abs(last));
  }
  const latency = now - player.played * FRAME_SECONDS;
  if (sent > 1000 && sent < 6000) early = Math.max(early, latency);
  if (sent > frames - 5000) { waits += latency; count++; }
  mostWaiting = Math.max(mostWaiting, player.waiting);
}
console.log(JSON.stringify({ last, worst, mostWaiting, early, late: waits / count, gaps: player.gaps, left: player.left }));

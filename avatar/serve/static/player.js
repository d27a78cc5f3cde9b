// Which sound is played when, and which picture belongs to it: plain arithmetic, without the browser's interfaces, so
// that hours of it can be run in a test. Sound is the clock; pictures follow it.

export const FRAME_SECONDS = 0.04;
const LEAST_SLACK = 0.01; // s of sound that wait beyond the frame being played, on a perfect network
const QUANTUM = 0.005; // s that sound is taken from the queue at a time, at the least
const STEP = 0.012; // s, and twice the jitter, that sound comes earlier than ever: the server began anew for a first word
const MOST_SLACK = 0.4;
const JITTER_MEMORY = 0.99; // of the jitter that is left a frame later: half of it after three seconds
const RATE_STEP = 0.005; // the most that sound is played faster or slower: nobody hears it
const QUIET = 0.003; // of full scale: frames below it may be left out, to catch up
const AVERAGE = 0.02; // weight of a new measurement of what waits

const isQuiet = (block) => block.samples.every((value) => Math.abs(value) <= QUIET);

// A queue of sound blocks that is played at the speed of the listener's clock. Blocks are Float32Arrays of one frame.
export class SoundPlayer {
  constructor(rate) {
    this.rate = rate;
    this.blocks = []; // {index, samples}
    this.offset = 0; // samples of the first block that were played, with a fraction
    this.playing = false;
    this.slack = LEAST_SLACK;
    this.jitter = 0;
    this.average = 0;
    this.first = null; // arrival of the first block, s, less its index: the earliest that any came
    this.played = -1; // index of the frame being played, with a fraction
    this.late = this.since = 0; // s that the newest block came after its earliest time; since it came
    this.owed = 0; // s of silence to be left out, since what comes after it came earlier
    this.gaps = 0; // times that nothing was there to be played
    this.left = 0; // frames left out to catch up
  }

  get waiting() { // s
    return this.blocks.reduce((sum, block) => sum + block.samples.length, 0) / this.rate - this.offset / this.rate;
  }

  // A frame's sound, arrived at a time, s.
  push(index, samples, now) {
    const due = now - index * FRAME_SECONDS;
    if (this.first !== null && this.first - due > Math.max(STEP, 2 * this.jitter)) this.owed += this.first - due;
    this.first = this.first === null ? due : Math.min(this.first + 1e-5, due); // a clock that is slower lets it rise
    this.late = due - this.first;
    this.since = 0;
    this.jitter = Math.max(this.jitter * JITTER_MEMORY, this.late);
    this.slack = Math.min(Math.max(LEAST_SLACK, this.jitter + QUANTUM), MOST_SLACK);
    this.blocks.push({ index, samples });
  }

  // Drop what waits: it was interrupted.
  clear() {
    this.blocks = [];
    this.offset = this.owed = 0;
    this.playing = false;
  }

  // Fill an array with the next samples; silence where there are none.
  pull(out) {
    const since = this.since;
    this.since += out.length / this.rate;
    if (!this.playing) {
      // the next block may be as late as any was: what waits beside the newest one must last until then
      const spare = this.waiting - FRAME_SECONDS + since + this.late;
      if (!this.blocks.length || spare < this.slack) { out.fill(0); return; }
      this.playing = true;
      this.average = this.waiting;
    }
    this.payBack();
    this.average += AVERAGE * (this.waiting - this.average);
    // blocks come 40 ms at a time: in the mean half of one waits beside the slack
    const surplus = this.average - this.slack - FRAME_SECONDS / 2;
    const speed = 1 + Math.max(-RATE_STEP, Math.min(RATE_STEP, surplus * 0.2));
    for (let i = 0; i < out.length; i++) {
      const block = this.blocks[0];
      if (!block) {
        out.fill(0, i);
        this.playing = false;
        this.gaps++;
        return;
      }
      const at = Math.floor(this.offset), share = this.offset - at;
      const here = block.samples[at];
      const following = at + 1 < block.samples.length ? block.samples[at + 1]
        : this.blocks.length > 1 ? this.blocks[1].samples[0] : here;
      out[i] = here + share * (following - here);
      this.played = block.index + this.offset / block.samples.length;
      this.offset += speed;
      if (this.offset >= block.samples.length) {
        this.offset -= block.samples.length;
        this.blocks.shift();
        this.catchUp();
      }
    }
  }

  // Leave silence out that is owed.
  payBack() {
    while (this.owed > 0 && this.blocks.length > 1 && isQuiet(this.blocks[0])) {
      const left = this.blocks[0].samples.length - this.offset, some = Math.min(left, this.owed * this.rate);
      this.offset += some;
      this.owed -= some / this.rate;
      if (some < left) return;
      this.offset = 0;
      this.blocks.shift();
    }
  }

  // Leave the next frame out where too much waits and nothing is audible in it.
  catchUp() {
    const [block, following] = this.blocks;
    if (!following || this.average - this.slack < FRAME_SECONDS * 1.5) return;
    if (!isQuiet(block)) return;
    this.blocks.shift();
    this.average -= FRAME_SECONDS;
    this.left++;
  }
}

// Decoded pictures in order; `take` gives the one that belongs to a place in the sound.
export class PictureQueue {
  constructor(drop) {
    this.drop = drop; // called with a picture that is not needed any more
    this.pictures = []; // {index, picture}
  }

  push(index, picture) {
    this.pictures.push({ index, picture });
    while (this.pictures.length > 50) this.drop(this.pictures.shift().picture); // the sound stands still
  }

  // The newest picture whose frame has begun at a place, index with a fraction; null where it is shown already.
  take(place) {
    let found = null;
    while (this.pictures.length && this.pictures[0].index <= place) {
      if (found) this.drop(found.picture);
      found = this.pictures.shift();
    }
    return found;
  }

  clear() {
    for (const one of this.pictures) this.drop(one.picture);
    this.pictures = [];
  }
}

// When each sample was sent: how long ago the sound of a frame went out.
export class SentLog {
  constructor(rate) {
    this.rate = rate;
    this.count = 0; // samples of the segment
    this.entries = []; // {until, time}: samples before `until` were sent at `time`
    this.frame = null; // index of the segment's first frame
  }

  sent(samples, time) {
    this.count += samples;
    this.entries.push({ until: this.count, time });
    if (this.entries.length > 5000) this.entries.shift();
  }

  started(frame) { this.frame = frame; }

  restart() {
    this.count = 0;
    this.entries = [];
    this.frame = null;
  }

  // Seconds from when the middle of a frame's sound was sent until a time.
  since(index, time) {
    if (this.frame === null || index < this.frame) return null;
    const sample = (index - this.frame + 0.5) * FRAME_SECONDS * this.rate;
    const entry = this.entries.find((one) => one.until > sample);
    return entry ? time - entry.time : null;
  }
}

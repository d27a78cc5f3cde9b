'use strict';
// The page of one avatar with its motion and sound inside. It loads nothing and sends nothing.

/** Bytes of a script element that holds base64. */
function embedded(name) {
  const text = document.getElementById(`data-${name}`)?.textContent.trim();
  if (!text) return null;
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A film that plays again and again, mute by the wall clock until sound is asked for. */
class Film {
  constructor(drawing, rows, fps) {
    Object.assign(this, {fps, width: drawing.modes + VALUES_BEYOND_MODES});
    this.rows = rows;
    this.frames = rows.length / this.width;
    this.clock = new SilentClock();
    this.paused = null; // s where it stands still
  }

  get length() {
    return this.frames / this.fps;
  }

  get seconds() {
    return this.paused ?? this.clock.seconds;
  }

  /** Which frame is due in `lead` seconds, and its values. */
  due(lead) {
    if (this.seconds >= this.length + 0.5) this.seek(0); // a breath before it begins again
    const frame = Math.max(0, Math.min(this.frames - 1, Math.floor((this.seconds + lead) * this.fps)));
    return [frame, this.rows.subarray(frame * this.width, (frame + 1) * this.width)];
  }

  seek(seconds) {
    this.paused = this.paused === null ? null : seconds;
    if (!this.sound) return this.clock.restart(seconds);
    this.sound.clear(seconds);
    const pause = new Float32Array(Math.round(0.6 * this.sound.context.sampleRate));
    for (const part of [this.samples.subarray(Math.round(seconds * this.sound.context.sampleRate)), pause]) {
      this.sound.push(part.slice());
    }
  }

  /** Play the sound of a file's bytes from the beginning, and follow it. */
  async unmute(bytes) {
    const sound = await Sound.open(), decoded = await sound.context.decodeAudioData(bytes.slice().buffer);
    this.samples = decoded.getChannelData(0);
    this.sound = this.clock = sound;
    this.seek(0);
  }

  async pause(paused) {
    const at = this.seconds;
    if (this.sound) await (paused ? this.sound.context.suspend() : this.sound.context.resume());
    else if (!paused) this.clock.restart(at);
    this.paused = paused ? at : null;
  }
}

async function openPage() {
  const choice = new URLSearchParams(location.hash.slice(1)).get('engine') || 'auto';
  const [drawing, motion] = await Promise.all([
    readDrawing(embedded('drawing').buffer), inflate(embedded('motion')),
  ]);
  const film = new Film(drawing, new Float32Array(motion.buffer), Number(document.body.dataset.fps));
  const view = new AvatarView(document.querySelector('canvas'), drawing, choice);
  const buttons = Object.fromEntries(['play', 'sound'].map((name) => [name, document.getElementById(name)]));
  const sound = embedded('sound');
  buttons.play.hidden = film.frames === 1;
  buttons.sound.hidden = !sound;
  buttons.play.onclick = async () => {
    await film.pause(film.paused === null);
    buttons.play.textContent = film.paused === null ? 'Pause' : 'Play';
  };
  buttons.sound.onclick = async () => {
    buttons.sound.disabled = true;
    try {
      if (film.paused !== null) buttons.play.click();
      await film.unmute(sound);
      buttons.sound.hidden = true;
    } catch (error) {
      buttons.sound.textContent = `No sound: ${error.message}`;
    }
  };
  const show = () => {
    const [frame, values] = film.due(view.leads);
    view.show(frame, values).catch(complain);
  };
  const each = () => {
    show();
    requestAnimationFrame(each);
  };
  view.onfree = show;
  each();
  window.avatarPage = {film, view, drawing}; // for whoever embeds the page
}

function complain(error) {
  document.getElementById('message').textContent = `This browser cannot show the avatar: ${error.message}`;
}

openPage().catch(complain);

// In the audio thread: plays the server's sound, and records the microphone.
import { SoundPlayer } from "./player.js";

class Playing extends AudioWorkletProcessor {
  constructor() {
    super();
    this.player = new SoundPlayer(sampleRate);
    this.ticks = 0;
    this.port.onmessage = ({ data }) => {
      if (data === "clear") this.player.clear();
      else this.player.push(data.index, data.samples, data.now);
    };
  }

  process(_, outputs) {
    this.player.pull(outputs[0][0]);
    for (const channel of outputs[0].slice(1)) channel.set(outputs[0][0]);
    if (this.ticks++ % 4 === 0) {
      const { played, playing, waiting, slack, gaps } = this.player;
      this.port.postMessage({ played, playing, waiting, slack, gaps, time: currentTime });
    }
    return true;
  }
}

class Recording extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate / 50)); // 20 ms
    this.filled = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    for (let i = 0; channels.length && i < channels[0].length; i++) {
      const value = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      this.block[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("playing", Playing);
registerProcessor("recording", Recording);

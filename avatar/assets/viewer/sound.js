'use strict';
// Sound, and the clock that is read from it.

/** Samples into the loudspeaker; says what is heard now. Make it after a click: browsers keep pages silent before. */
class Sound {
  /** rate: Hz of what is pushed, null for the device's; prebuffer, most: seconds (sound_worklet.js). */
  static async open({rate = null, prebuffer = 0, most = Infinity} = {}) {
    const context = new AudioContext(rate ? {sampleRate: rate} : {});
    const text = document.getElementById('script-sound_worklet').textContent; // blobs of pages from disk are refused
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(text)}`);
    return new Sound(context, prebuffer, most);
  }

  constructor(context, prebuffer, most) {
    this.context = context;
    const processorOptions = {prebuffer: prebuffer * context.sampleRate, most: most * context.sampleRate};
    this.node = new AudioWorkletNode(context, 'sample-player', {numberOfInputs: 0, outputChannelCount: [1], processorOptions});
    this.node.connect(context.destination);
    this.reported = [0, 0];
    this.start = 0; // s of the media that the first sample is at
    this.turn = 0;
    this.node.port.onmessage = ({data}) => { if (data[2] === this.turn) this.reported = data; };
  }

  push(samples) {
    this.node.port.postMessage(samples);
  }

  /** Drop what was not played; what is pushed next is at `start` seconds of the media. */
  clear(start = 0) {
    this.node.port.postMessage(this.turn += 1);
    this.reported = [0, this.context.currentTime];
    this.start = start;
  }

  /** Seconds of the media that are heard now. */
  get seconds() {
    const [played, until] = this.reported, stamp = this.context.getOutputTimestamp();
    const now = stamp.performanceTime
      ? stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000
      : this.context.currentTime - (this.context.outputLatency || 0);
    const heard = played / this.context.sampleRate;
    return this.start + Math.max(0, Math.min(heard, heard + now - until));
  }
}

/** A clock without sound. */
class SilentClock {
  constructor() {
    this.restart();
  }

  restart(start = 0) {
    this.begun = performance.now() - 1000 * start;
  }

  get seconds() {
    return (performance.now() - this.begun) / 1000;
  }
}

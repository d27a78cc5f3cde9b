'use strict';
// Plays samples as they are pushed, and says how many it has played: the clock that pictures follow.

const EVERY = 5; // calls between two reports: 13 ms at 48 kHz
const CATCH_UP = 0.02; // how much faster it plays while more has piled up than was asked to wait

class SamplePlayer extends AudioWorkletProcessor {
  constructor({processorOptions}) {
    super();
    this.prebuffer = processorOptions.prebuffer; // samples that wait before it begins, and after it ran empty
    this.most = processorOptions.most; // waiting for half a second: more than this is caught up with
    this.clear(0);
    this.port.onmessage = ({data}) => typeof data === 'number' ? this.clear(data) : this.chunks.push(data);
  }

  clear(turn) {
    this.turn = turn; // how often it was cleared: reports from before do not count
    this.chunks = [];
    this.at = 0; // within the first chunk, in samples and parts of one
    this.played = 0;
    this.playing = false;
    this.calls = 0;
    this.late = 0; // samples that more than `most` has waited for
  }

  waiting() {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0) - this.at;
  }

  process(_, [[out]]) {
    const waiting = this.waiting();
    this.playing = this.playing ? waiting > 0 : waiting > 0 && waiting >= this.prebuffer;
    this.late = waiting > this.most ? this.late + out.length : 0;
    const step = this.late > sampleRate / 2 ? 1 + CATCH_UP : 1;
    for (let i = 0; i < out.length; ++i) {
      while (this.chunks.length && this.at >= this.chunks[0].length) this.at -= this.chunks.shift().length;
      if (!this.playing || !this.chunks.length) continue; // silence, which does not count
      out[i] = this.chunks[0][Math.floor(this.at)];
      this.at += step;
      this.played += step;
    }
    if (this.calls++ % EVERY === 0) this.port.postMessage([this.played, currentTime + out.length / sampleRate, this.turn]);
    return true;
  }
}

registerProcessor('sample-player', SamplePlayer);

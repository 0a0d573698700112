// What is heard: streams into the loudspeaker, their level, and when they can be heard.

const AUDIBLE = 0.003; // of full scale, RMS: -50 dBFS
const HOLD = 600; // ms of silence after which nobody speaks any more: longer than the pause between two sentences
const LOUD = 0.25; // RMS that fills the meter

export class Sound {
  /** `onAudible(now)` when sound follows silence, `onSpeaking(is)` when speech begins or has ended, `onLevel(0..1)` each picture. */
  constructor({ onAudible, onSpeaking, onLevel, onBlocked }) {
    Object.assign(this, { onAudible, onSpeaking, onLevel, onBlocked });
    this.players = new Map();
    this.lastLoud = -Infinity;
    this.isSpeaking = false;
  }

  /** In a gesture of the user, or browsers stay silent. */
  async start() {
    if (!this.context) {
      this.context = new AudioContext();
      this.analyser = this.context.createAnalyser();
      this.analyser.fftSize = 1024;
      this.samples = new Float32Array(this.analyser.fftSize);
      this.context.onstatechange = () => this.onBlocked(this.context.state !== "running");
      requestAnimationFrame(() => this.look());
    }
    await this.context.resume();
    this.onBlocked(false);
    for (const { element } of this.players.values()) await this.begin(element);
  }

  play(stream) {
    const track = stream.getAudioTracks()[0];
    if (!track || this.players.has(track.id)) return;
    const element = new Audio();
    element.srcObject = stream;
    document.getElementById("players").append(element);
    const source = this.context.createMediaStreamSource(stream);
    source.connect(this.analyser);
    this.players.set(track.id, { element, source });
    track.onended = stream.onremovetrack = () => this.drop(track.id);
    this.begin(element);
  }

  /** Silence here, at once, whatever is still on its way. */
  hush(isHushed) {
    for (const { element } of this.players.values()) element.muted = isHushed;
  }

  end() {
    for (const id of [...this.players.keys()]) this.drop(id);
  }

  drop(id) {
    const player = this.players.get(id);
    if (!player) return;
    player.source.disconnect();
    player.element.srcObject = null;
    player.element.remove();
    this.players.delete(id);
  }

  async begin(element) {
    try {
      await element.play();
    } catch (error) {
      if (error.name === "NotAllowedError") this.onBlocked(true);
    }
  }

  look() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const rms = Math.sqrt(this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length);
    const now = performance.now();
    if (rms > AUDIBLE) {
      if (now - this.lastLoud > HOLD / 2) this.onAudible(now);
      this.lastLoud = now;
    }
    const isSpeaking = now - this.lastLoud < HOLD;
    if (isSpeaking !== this.isSpeaking) this.onSpeaking((this.isSpeaking = isSpeaking));
    this.onLevel(Math.min(1, rms / LOUD));
    requestAnimationFrame(() => this.look());
  }
}

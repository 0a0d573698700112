// What is heard: streams into the loudspeaker, their level, and when they can be heard.

const AUDIBLE = 0.003; // of full scale, RMS: -50 dBFS
const HOLD = 600; // ms of silence after which nobody speaks any more: longer than the pause between two sentences
const WINDOW = 1024; // samples that a level is taken from
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
      this.samples = new Float32Array(WINDOW);
      this.context.onstatechange = () => this.onBlocked(this.context.state !== "running");
      requestAnimationFrame(() => this.look());
    }
    await this.context.resume();
    this.onBlocked(false);
    for (const { element } of this.players.values()) await this.begin(element);
  }

  /** `name` is what `lift` knows it by. */
  play(stream, name) {
    const track = stream.getAudioTracks()[0];
    if (!track || this.players.has(track.id)) return;
    const element = new Audio();
    element.srcObject = stream;
    document.getElementById("players").append(element);
    const source = this.context.createMediaStreamSource(stream);
    const analyser = this.context.createAnalyser();
    analyser.fftSize = WINDOW;
    source.connect(analyser);
    this.players.set(track.id, { element, source, analyser, name, lastLoud: -Infinity });
    track.onended = stream.onremovetrack = () => this.drop(track.id);
    this.begin(element);
  }

  /** Silence here, at once, whatever is still on its way; each stream is heard again when what was on its way is over. */
  hush() {
    for (const player of this.players.values()) {
      player.element.muted = true;
      player.lastLoud = performance.now(); // it may be silent only because its sound has not come yet
    }
  }

  /** No more silence: in the stream of that name, or in all of them. */
  lift(name) {
    for (const player of this.players.values()) if (name === undefined || player.name === name) player.element.muted = false;
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
    const now = performance.now();
    let power = 0; // of what is heard: a stream that is hushed lowers nobody
    for (const player of this.players.values()) {
      player.analyser.getFloatTimeDomainData(this.samples);
      const own = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
      if (own > AUDIBLE ** 2) player.lastLoud = now;
      else if (now - player.lastLoud > HOLD) player.element.muted = false;
      if (!player.element.muted) power += own;
    }
    const rms = Math.sqrt(power);
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

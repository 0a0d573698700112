// What became of each sentence, out of the node's events. Knows no screen and no clock: it is told the time, in ms.

const KEPT = 200; // sentences: an hour on a screen

export class Story {
  constructor() {
    this.sentences = new Map();
    this.sent = new Map(); // utterance: when its latest text was sent
  }

  onSent(utterance, now) {
    this.sent.set(utterance, now);
    if (this.sent.size > KEPT) this.sent.delete(this.sent.keys().next().value);
  }

  /** Takes one event; gives the sentences that are different now. */
  onEvent(event, now) {
    const sentence = this.sentences.get(event.id);
    switch (event.type) {
      case "sentence":
        return [this.add(event, now)];
      case "speech_started":
        if (!sentence) return [];
        Object.assign(sentence, { started: now, ttft: event.ttft_ms, engine: event.engine, queued: now - event.lag_ms });
        sentence.chosen = Math.max(sentence.chosen, sentence.queued);
        return [sentence];
      case "caption":
        return this.onCaption(event, sentence ?? this.add({ id: event.id, text: "" }, now), now);
      case "sentence_finished":
        return sentence ? [Object.assign(sentence, { finished: now, heard: sentence.text.length })] : [];
      case "switched":
        if (!sentence) return [];
        sentence.turns.push({ from: event.from, to: event.to, why: event.why, isMidway: sentence.started !== undefined });
        if (sentence.engine !== event.to) Object.assign(sentence, { engine: event.to, voice: "" });
        return [sentence];
      case "speech_finished":
        return event.interrupted ? this.cut(event.utterance, now) : [];
      case "dropped":
        return [this.onDropped(event, now)];
    }
    return [];
  }

  add({ id, utterance, text, engine, voice, cached, why }, now) {
    const queued = this.sent.get(utterance) ?? now;
    const sentence = { id, utterance, text, engine, voice, cached, why, queued, chosen: now, heard: 0, turns: [] };
    this.sentences.set(id, sentence);
    if (this.sentences.size > KEPT) this.sentences.delete(this.sentences.keys().next().value);
    return sentence;
  }

  onCaption({ text, final }, sentence, now) {
    if (sentence.utterance === undefined) {
      sentence.text += text; // somebody else's: known by what is heard of it alone
      sentence.started ??= now;
    }
    sentence.heard += text.length;
    if (final) sentence.finished ??= now;
    return [sentence];
  }

  /** Of a sentence that is known, its rest; or one that was never chosen. */
  onDropped({ utterance, text, why }, now) {
    const known = [...this.sentences.values()].find(
      (one) => one.utterance === utterance && one.heard < one.text.length && one.text.trim().endsWith(text.trim()),
    );
    const sentence = known ?? this.add({ id: `dropped ${utterance} ${text}`, utterance, text, why }, now);
    return Object.assign(sentence, { why, finished: sentence.finished ?? now });
  }

  cut(utterance, now) {
    return this.open(utterance).map((one) => Object.assign(one, { finished: now, why: "cancelled" }));
  }

  /** Sentences that something may still happen to; of one utterance, or all. */
  open(utterance) {
    return [...this.sentences.values()].filter((one) => one.finished === undefined && (!utterance || one.utterance === utterance));
  }
}

/** The value below which a part `q` of them lies; undefined of none. */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

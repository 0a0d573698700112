// Sentences on the screen: text with what is heard marked, a line of where the time went, and the facts.

import { forDrop, forTurn } from "./words.js";

const LATER = 20; // ms: more than that it waited for what was said before it
const SHOWN = 60; // sentences on the screen, the latest on top

export class View {
  constructor(list, empty) {
    this.list = list;
    this.empty = empty;
    this.items = new Map();
  }

  show(sentence, now) {
    let item = this.items.get(sentence.id);
    if (!item) {
      item = document.createElement("li");
      this.items.set(sentence.id, item);
      this.list.prepend(item);
      this.empty.hidden = true;
      while (this.list.children.length > SHOWN) this.forget(this.list.lastElementChild);
    }
    item.classList.toggle("lost", Boolean(sentence.why) && !sentence.heard);
    item.replaceChildren(text(sentence), ...(sentence.engine ? [line(sentence, now)] : []), facts(sentence));
  }

  forget(item) {
    for (const [id, other] of this.items) if (other === item) this.items.delete(id);
    item.remove();
  }
}

function text({ text, heard }) {
  const paragraph = make("p", "text");
  if (heard) paragraph.append(make("mark", "", text.slice(0, heard)));
  paragraph.append(text.slice(heard));
  return paragraph;
}

function line({ queued, chosen, started, finished }, now) {
  const bar = make("div", "line");
  bar.setAttribute("aria-hidden", "true"); // the facts below say the same
  const parts = [["wait", queued, chosen], ["make", chosen, started], ["speak", started, finished]];
  for (const [kind, from, to = finished ?? now] of parts) {
    if (from === undefined) break;
    const part = make("span", kind);
    part.style.flexGrow = Math.max(1, to - from);
    bar.append(part);
  }
  return bar;
}

function facts(sentence) {
  const { utterance, queued, chosen, started, finished, ttft, engine, voice, cached, turns, why } = sentence;
  const row = make("p", "facts");
  const add = (words, value) => row.append(value === undefined ? make("span", "", words) : labelled(words, value));
  if (why) row.append(make("span", "lost", forDrop(why)));
  if (engine) add("chosen", `+${span(chosen - queued)}`);
  if (engine && started !== undefined) {
    add("first sound", `+${span(started - queued)}`);
    if (started - queued - ttft > LATER) add("after its turn", `+${span(ttft)}`);
  }
  if (finished !== undefined && started !== undefined) add("spoken", `+${span(finished - queued)}`);
  if (engine) add(voice ? `${engine}, ${voice}` : engine);
  if (cached) add("from the cache");
  if (utterance === undefined) add("sent by somebody else");
  for (const turn of turns) row.append(make("span", "turn", forTurn(turn)));
  return row;
}

/** Milliseconds as people read them. */
export const span = (ms) => (ms < 1000 ? `${Math.round(ms)}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`);

function labelled(words, value) {
  const whole = make("span", "", `${words} `);
  whole.append(make("b", "", value));
  return whole;
}

function make(tag, name = "", words = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.textContent = words;
  return element;
}

// The page: what is on it, and what happens when it is used.

import * as direct from "./direct.js";
import * as rooms from "./room.js";
import { Sound } from "./sound.js";
import { Story, quantile } from "./story.js";
import { View, span } from "./view.js";
import { forError, forFailure, refusal } from "./words.js";

const MOST = 3000; // characters in one message: a packet of a room holds 15 KiB, and a character takes up to 4 bytes
const PACE = 130; // ms between two words that are sent as a translator sends them
const FIGURES = 200; // the last ones that p50 and p95 are taken from
const REFRESH = 200; // ms between two looks at what is not over
const LEVELS = ["at its best", "reduced", "one engine left", "captions only"];

const $ = (id) => document.getElementById(id);
const door = $("door"), say = $("say");
const story = new Story();
const view = new View($("sentences"), $("empty"));
const sound = new Sound({ onAudible, onSpeaking, onLevel, onBlocked: (is) => ($("unblock").hidden = !is) });
const node = { ttft: [], heard: [] };
let link = null; // what connects to the node
let voices = [];
let sentAt; // when text was sent that has not been heard
let sending = 0; // counts texts and stops: a text that is sent word by word ends when it has changed
let number = 0;

// Connecting

const headers = () => (door.key.value ? { Authorization: `Bearer ${door.key.value}` } : {});

door.addEventListener("change", async () => {
  const isRoom = door.door.value === "room";
  $("room-field").hidden = !isRoom;
  const why = isRoom ? await rooms.unavailable(headers()).catch(forFailure) : "";
  $("no-rooms").textContent = why;
  $("no-rooms").hidden = !why;
  if (!link) $("connect").disabled = Boolean(why);
});

door.addEventListener("submit", async (event) => {
  event.preventDefault();
  trouble("");
  if (link) return disconnect("Not connected");
  $("connect").disabled = true;
  status("Connecting…");
  const on = { event: onEvent, stream: (...stream) => sound.play(...stream), end: onEnd };
  try {
    await sound.start();
    const open = door.door.value === "room" ? rooms.open : direct.open;
    link = await open({ headers: headers(), on, room: door.room.value });
    link.listen(say.language.value); // the node has said by now which languages it speaks
    status(door.door.value === "room" ? `In room ${door.room.value}` : "Connected", true);
    send({ type: "hello", protocol: 1 });
  } catch (error) {
    disconnect("Not connected");
    trouble(forFailure(error));
  }
  $("connect").disabled = false;
});

function disconnect(words) {
  sending++;
  link?.close();
  link = null;
  sound.end();
  status(words);
}

function onEnd(words) {
  disconnect("Not connected");
  if ($("trouble").hidden) trouble(words); // else the reason has been told
}

function status(words, isOn = false) {
  $("status").textContent = words;
  $("status").classList.toggle("on", isOn);
  $("connect").textContent = isOn ? "Disconnect" : "Connect";
  $("connect").classList.toggle("main", !isOn);
  $("speak").disabled = $("stop").disabled = !isOn;
  for (const field of door.querySelectorAll("input")) field.disabled = isOn;
}

function trouble(words) {
  $("trouble").textContent = words;
  $("trouble").hidden = !words;
}

// Saying

say.addEventListener("submit", (event) => {
  event.preventDefault();
  speak();
});

$("stop").addEventListener("click", stop);
$("unblock").addEventListener("click", () => sound.start());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && link) stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && link) speak();
});

async function speak() {
  const text = say.text.value;
  if (!text.trim()) return trouble("There is no text to say.");
  trouble("");
  sound.lift();
  send(configuration());
  const utterance = `page-${++number}`;
  const mine = ++sending;
  const parts = say.manner.value === "stream" ? (text.match(/\S+\s*/g) ?? []) : pieces(text);
  for (const [index, part] of parts.entries()) {
    if (mine !== sending || !link) return;
    sentAt ??= performance.now();
    story.onSent(utterance, performance.now());
    send({ type: "text", text: part, utterance, final: index === parts.length - 1 });
    if (say.manner.value === "stream") await new Promise((resolve) => setTimeout(resolve, PACE));
  }
}

function stop() {
  sound.hush(); // what is on its way already is not heard either
  sending++;
  sentAt = undefined;
  send({ type: "cancel" });
}

/** What cannot be sent is told; a text that is sent word by word ends with it. */
async function send(message) {
  const over = link;
  try {
    await over.send(message);
  } catch (error) {
    if (over !== link) return; // the connection has ended meanwhile, and that is told
    sending++;
    sentAt = undefined;
    trouble(forFailure(error));
  }
}

/** What is chosen on the page; null goes back to the node's own choice. */
function configuration() {
  const { language, voice, engine, strategy, budget, speed } = say;
  return {
    type: "config",
    language: language.value || null,
    voice: voice.value || null,
    engine: engine.value || null,
    strategy: strategy.value || null,
    budget_ms: budget.valueAsNumber || null,
    speed: speed.valueAsNumber,
  };
}

/** Not cut inside a word. */
const pieces = (text) => text.match(new RegExp(`[^]{1,${MOST}}(?=\\s|$)|[^]{1,${MOST}}`, "g")) ?? [];

$("save").addEventListener("click", async () => {
  const { language, voice, engine, strategy, budget, speed } = say;
  const body = { text: say.text.value, speed: speed.valueAsNumber, language: language.value || undefined };
  if (voice.value) body.voice_id = voice.value;
  if (engine.value) body.engine = engine.value;
  if (strategy.value) body.strategy = strategy.value;
  if (budget.value) body.budget_ms = budget.valueAsNumber;
  trouble("");
  $("save").disabled = true;
  try {
    const answer = await fetch("/synthesize", {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json", Accept: "audio/wav" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw await refusal(answer);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = "voicebooth.wav";
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (error) {
    trouble(forFailure(error));
  }
  $("save").disabled = false;
});

// What the node tells

function onEvent(event) {
  const now = performance.now();
  // a sentence of somebody else's begins: what was stopped on this track is over
  if (event.type === "caption" && event.track && !event.final && !story.sentences.has(event.id)) sound.lift(event.track);
  for (const sentence of story.onEvent(event, now)) view.show(sentence, now);
  switch (event.type) {
    case "ready":
      onReady(event);
      break;
    case "speech_started":
      figure("ttft", event.ttft_ms);
      break;
    case "backlog":
      $("backlog").textContent = event.seconds ? `${event.seconds} s` : "nothing";
      break;
    case "level":
      $("node-level").textContent = LEVELS[event.level] ?? event.why;
      break;
    case "error":
      trouble(forError(event));
      break;
  }
}

async function onReady({ languages, voices: ids, level, node: name }) {
  $("node-level").textContent = LEVELS[level] ?? `level ${level}`;
  $("node-level").title = name;
  if (!$("backlog").textContent.trim() || $("backlog").textContent === "–") $("backlog").textContent = "nothing";
  const names = new Intl.DisplayNames([navigator.language], { type: "language" });
  fill(say.language, languages.map((tag) => [tag, names.of(tag)]), say.language.value || languages[0]);
  link?.listen(say.language.value); // another node may come, with other languages
  const answer = await fetch("/voices", { headers: headers() }).catch(() => null);
  voices = answer?.ok ? (await answer.json()).voices : ids.map((id) => ({ voice_id: id, name: id, language: "", supported_engines: [] }));
  const engines = [...new Set(voices.flatMap((voice) => voice.supported_engines))];
  fill(say.engine, [["", "any engine"], ...engines.map((engine) => [engine, engine])], say.engine.value);
  offerVoices();
}

function offerVoices() {
  const primary = (tag) => tag.split("-")[0].toLowerCase();
  const fitting = voices.filter(({ language }) => !language || primary(language) === primary(say.language.value));
  fill(say.voice, [["", "any voice"], ...fitting.map(({ voice_id, name }) => [voice_id, name])], say.voice.value);
}

say.language.addEventListener("change", () => {
  offerVoices();
  link?.listen(say.language.value);
});
say.speed.addEventListener("input", () => (say["speed-value"].value = say.speed.valueAsNumber.toFixed(2)));

function fill(select, options, value) {
  select.replaceChildren(...options.map(([key, words]) => new Option(words, key)));
  select.value = options.some(([key]) => key === value) ? value : options[0]?.[0];
}

// What is heard

function onAudible(now) {
  if (sentAt !== undefined) figure("heard", now - sentAt);
  sentAt = undefined;
}

function onLevel(level) {
  $("level").setAttribute("aria-valuenow", Math.round(level * 100));
  $("level").firstElementChild.style.width = `${level * 100}%`;
}

function onSpeaking(isSpeaking) {
  link?.lower?.(isSpeaking);
}

function figure(name, value) {
  const values = node[name];
  values.push(value);
  if (values.length > FIGURES) values.shift();
  const tail = document.createElement("small");
  tail.textContent = ` p95 ${span(quantile(values, 0.95))}`;
  $(name).replaceChildren(span(quantile(values, 0.5)), tail);
}

setInterval(() => {
  for (const sentence of story.open()) view.show(sentence, performance.now());
}, REFRESH);
status("Not connected");

// The node in a LiveKit room: text and events as data, one track for each speaker and language, captions as text streams.

import { refusal } from "./words.js";

const CLIENT = "/web/livekit-client.mjs";
const TEXT = "voicebooth.text", EVENTS = "voicebooth.events", CAPTIONS = "lk.transcription";
const LOWERED = 0.2; // how loud other people are while the booth speaks
const PLACE = /^[a-z]{2,3}(-[A-Za-z]{4})?(-[A-Z]{2}|-[0-9]{3})?$/, ANY_PLACE = new RegExp(PLACE, "i"); // a language, its script and region
const PATIENCE = 20000, AGAIN = 500; // ms for a node to come into the room, and between two calls for it

/** Whether this node gives passes into rooms; else why not, in words. */
export async function unavailable(headers) {
  const [rooms, client] = await Promise.all([fetch("/room", { headers }), fetch(CLIENT)]);
  if (rooms.status === 401) return ""; // the key may come later
  const { available, why } = rooms.ok ? await rooms.json() : { available: false, why: (await refusal(rooms)).message };
  if (!available) return why;
  return client.ok ? "" : (await refusal(client)).message;
}

/** As in direct.js; no voice of the booth is heard until `listen` says which language's. */
export async function open({ headers, on, room: name }) {
  const answer = await fetch("/room/token", {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify({ room: name }),
  });
  if (!answer.ok) throw await refusal(answer);
  const { url, token } = await answer.json();
  const { Room, RoomEvent, Track } = await import(CLIENT);
  const room = new Room();
  const people = new Set(); // tracks of others, to be lowered
  let wanted = ""; // a language
  const known = new Set(); // those that nodes in here have named
  let ready = false;

  const isBooth = (participant) => participant.attributes["voicebooth.role"] === "booth";
  const choose = () => {
    for (const participant of room.remoteParticipants.values())
      for (const publication of participant.audioTrackPublications.values())
        publication.setSubscribed(!isBooth(participant) || speaks(publication.trackName, wanted, [...known]));
  };
  const tell = (event) => {
    if (event.type === "ready") {
      ready = true;
      for (const tag of event.languages) known.add(tag);
    }
    on.event(event);
  };
  for (const event of ["TrackPublished", "ParticipantConnected", "ParticipantAttributesChanged", "Connected"]) room.on(RoomEvent[event], choose);
  room.on(RoomEvent.TrackSubscribed, (track, publication, participant) => {
    if (track.kind !== Track.Kind.Audio) return;
    if (isBooth(participant)) on.stream(new MediaStream([track.mediaStreamTrack]), publication.trackSid);
    else {
      people.add(track);
      document.getElementById("players").append(track.attach());
    }
  });
  room.on(RoomEvent.TrackUnsubscribed, (track) => {
    people.delete(track);
    for (const element of track.detach()) element.remove();
  });
  room.on(RoomEvent.DataReceived, (data, participant, kind, topic) => topic === EVENTS && tell(JSON.parse(new TextDecoder().decode(data))));
  room.registerTextStreamHandler(EVENTS, async (reader) => tell(JSON.parse(await reader.readAll())));
  room.registerTextStreamHandler(CAPTIONS, async (reader) => {
    const { "lk.segment_id": id, "lk.transcribed_track_id": track, language } = reader.info.attributes ?? {};
    for await (const text of reader) on.event({ type: "caption", id, track, language, text, final: false });
    on.event({ type: "caption", id, track, language, text: "", final: true });
  });
  room.on(RoomEvent.Disconnected, () => on.end("The room has ended the connection."));

  const send = (message) =>
    room.localParticipant.publishData(new TextEncoder().encode(JSON.stringify(message)), { reliable: true, topic: TEXT });
  const close = () => {
    room.removeAllListeners(RoomEvent.Disconnected);
    for (const track of people) for (const element of track.detach()) element.remove();
    room.disconnect();
  };
  try {
    await room.connect(url, token, { autoSubscribe: false });
    choose();
    for (const end = performance.now() + PATIENCE; !ready; await new Promise((resolve) => setTimeout(resolve, AGAIN))) {
      if (performance.now() > end) throw new Error("No node has come into this room.");
      await send({ type: "hello", protocol: 1 });
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    send,
    close,
    listen(chosen) {
      wanted = chosen;
      choose();
    },
    lower: (isSpeaking) => people.forEach((track) => track.setVolume(isSpeaking ? LOWERED : 1)),
  };
}

/** Whether the track `{speaker}-{language}` speaks that language, whatever its region. `known` are the languages of the node. */
export function speaks(track, language, known) {
  return language !== "" && primary(languageOf(track, known)) === primary(language);
}

/** The longest end of the name that is a language of the node, or one in a region or script of its own: speakers may have hyphens, too. */
function languageOf(track, known) {
  const parts = track.split("-");
  const ends = parts.map((_, index) => parts.slice(index).join("-")).slice(1);
  const tags = new Set(known.map((tag) => tag.toLowerCase())), languages = new Set(known.map(primary));
  const isTag = (end, place) => tags.has(end.toLowerCase()) || (languages.has(primary(end)) && place.test(end));
  // capitals tell a region from a language: `maria-de-en` is English by Maria de, `maria-de-CH` is Maria's German
  return ends.find((end) => isTag(end, PLACE)) ?? ends.find((end) => isTag(end, ANY_PLACE)) ?? "";
}

const primary = (tag) => tag.split("-")[0].toLowerCase();

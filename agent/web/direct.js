// The node without a server between: an offer over HTTP in the shape of WHEP, then the protocol on a data channel.

import { refusal } from "./words.js";

const ENDPOINT = "/whep";
const PATIENCE = 15000; // ms until the data channel must be open

/** Connects. `on` has `event(object)`, `stream(MediaStream)`, `end(words)`. Gives `send`, `listen`, `close`. */
export async function open({ headers, on }) {
  const connection = new RTCPeerConnection({ iceServers: await iceServers(headers) });
  connection.addTransceiver("audio", { direction: "recvonly" });
  const channel = connection.createDataChannel("voicebooth");
  channel.onmessage = ({ data }) => on.event(JSON.parse(data));
  connection.ontrack = ({ track, streams }) => on.stream(streams[0] ?? new MediaStream([track]));

  await connection.setLocalDescription();
  const answer = await fetch(ENDPOINT, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/sdp" },
    body: connection.localDescription.sdp,
  });
  if (!answer.ok) {
    connection.close();
    throw await refusal(answer);
  }
  const place = answer.headers.get("Location");
  trickle(connection, place, headers);
  await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });

  const leave = () => fetch(place, { method: "DELETE", headers, keepalive: true }).catch(() => {});
  addEventListener("pagehide", leave);
  const close = () => {
    removeEventListener("pagehide", leave);
    channel.onclose = connection.onconnectionstatechange = null;
    leave();
    connection.close();
  };
  const end = (words) => {
    close();
    on.end(words);
  };
  try {
    await opened(channel);
  } catch (error) {
    close();
    throw error;
  }
  channel.onclose = () => end("The node has ended the connection.");
  connection.onconnectionstatechange = () => connection.connectionState === "failed" && end("The connection is lost.");
  return { send: (message) => channel.send(JSON.stringify(message)), listen() {}, close };
}

function opened(channel) {
  return new Promise((resolve, reject) => {
    channel.onopen = resolve;
    setTimeout(() => reject(new Error("No way to the node was found: between this browser and it something blocks UDP.")), PATIENCE);
  });
}

/** Addresses of this browser that were found after the offer. */
function trickle(connection, place, headers) {
  const send = () => {
    const sdp = connection.localDescription?.sdp ?? "";
    const found = sdp.split("\r\n").filter((line) => /^a=(ice-ufrag|ice-pwd|candidate|mid):/.test(line));
    fetch(place, {
      method: "PATCH",
      headers: { ...headers, "Content-Type": "application/trickle-ice-sdpfrag" },
      body: found.join("\r\n") + "\r\n",
    }).catch(() => {});
  };
  if (connection.iceGatheringState === "complete") send();
  else connection.addEventListener("icegatheringstatechange", () => connection.iceGatheringState === "complete" && send());
}

async function iceServers(headers) {
  const answer = await fetch("/ice", { headers });
  if (!answer.ok) throw await refusal(answer);
  return (await answer.json()).iceServers;
}

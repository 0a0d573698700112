// What went wrong, in words: for people who have read no protocol.

const ERRORS = {
  idle: "The node let this page go, because nothing was said for a while. Connect again to go on.",
  session_over: "The node lets a connection last only so long. Connect again to go on.",
  draining: "The node is about to end and takes no more text.",
  forbidden: "This node does not speak the text of guests in this room.",
  overloaded: "The node has too much to do right now. Wait a moment, then say it again.",
  too_many_senders: "Too many people are sending text here. Wait a moment, then say it again.",
  too_many_peers: "The node serves as many browsers as it may. Try again in a moment.",
  rate_limited: "You have heard as much as this node gives to one listener in a minute. Wait a moment, then say it again.",
  track_failed: "The node could not publish its voice in this room.",
  unauthorized: "The node wants a key: enter it above.",
};
const DROPS = {
  nothing_to_say: "nothing in it can be said",
  expired: "it came too late",
  cancelled: "stopped",
  superseded: "replaced by a newer text",
  aborted: "broken off",
  overflow: "more is waiting than the node keeps",
  failed: "no engine could say it",
  unheard: "its track could not be had",
  filtered: "this node does not say it",
  not_supported: "markup is not understood yet",
  shutdown: "the node ended",
};

export const forError = ({ code, message }) => (ERRORS[code] ? ERRORS[code] : sentence(message || code));
const OF_A_SESSION = ["forbidden", "rate_limited"]; // what they mean over HTTP depends on the request: the node's own words say it

export const forDrop = (why) => DROPS[why] ?? why;

/** Why another engine speaks; `hedge: ` begins the reason where two of them ran side by side. */
export function forTurn({ from, to, why, isMidway }) {
  const isHedge = why.startsWith("hedge: ");
  const how = isHedge ? "hedged" : isMidway ? "handed over" : "switched";
  return `${how} from ${from} to ${to}: ${why.replace("hedge: ", "").replaceAll("_", " ")}`;
}

/** An Error for an HTTP answer that is none. */
export async function refusal(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // a proxy between, which answers in its own way
  }
  const code = body.code ?? (answer.status === 401 ? "unauthorized" : "");
  const message = body.error ?? `The node answered ${answer.status}.`;
  return new Error(OF_A_SESSION.includes(code) && body.error ? sentence(message) : forError({ code, message }));
}

export const forFailure = (error) =>
  error instanceof TypeError ? "The node cannot be reached. Is it still running?" : sentence(error.message);

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

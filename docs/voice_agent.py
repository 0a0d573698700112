"""A voice agent that speaks through a voicebooth node: it greets whoever comes, and reads aloud what is written in the room's chat.

    voicebooth run --dev               # a LiveKit server and the node
    python docs/voice_agent.py dev     # this, beside it

With an `llm=` and an `stt=` of your choice in the session it answers instead. Nothing of voicebooth is needed but the plugin.
"""

from __future__ import annotations

import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, room_io
from livekit.plugins import voicebooth

NODE = os.environ.get("VOICEBOOTH_NODE", "http://127.0.0.1:8003")

server = AgentServer(host="127.0.0.1")  # its health page: for this machine alone


async def read_aloud(session: AgentSession, event: room_io.TextInputEvent) -> None:
    """Whoever writes interrupts what is being said."""
    session.interrupt()
    session.say(event.text)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession = AgentSession(
        tts=voicebooth.TTS(base_url=NODE),
        use_tts_aligned_transcript=True,
        turn_handling={"turn_detection": None},  # nobody is listened to here: whose turn it is need not be known,
        aec_warmup_duration=None,  # and there is no echo to learn before interruptions can be told from it
    )
    await session.start(
        Agent(instructions="Read aloud what is written."),
        room=ctx.room,
        room_options=room_io.RoomOptions(text_input=room_io.TextInputOptions(text_input_cb=read_aloud), audio_input=False),
    )
    session.say("Good morning, and welcome.")


if __name__ == "__main__":
    cli.run_app(server)

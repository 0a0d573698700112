import base64
import io
import wave

import numpy as np
import pytest

from agent.gateway.clone import decode, length_of, reference_of
from agent.gateway.errors import Refused
from agent.gateway.wanted import Wanted


def recording(seconds):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.zeros(round(seconds * 16_000), dtype="<i2").tobytes())
    return base64.b64encode(file.getvalue()).decode()


async def refusal(reference, **wanted):
    with pytest.raises(Refused) as caught:
        await reference_of(None, Wanted("Hi.", reference=reference, **wanted))
    return caught.value.status, caught.value.code


async def test_a_reference_is_judged_before_anybody_speaks():
    assert await refusal("&&&") == (422, "bad_base64")
    assert await refusal(base64.b64encode(b"no sound at all").decode()) == (422, "bad_audio")
    assert await refusal(base64.b64encode(b"#EXTM3U\nhttp://127.0.0.1/x\n").decode()) == (422, "bad_audio")
    assert await refusal(base64.b64encode(b"RIFF" + b"\xff" * 64).decode()) == (422, "bad_audio")
    assert await refusal(recording(1.0)) == (422, "clone_reference_length")
    assert await refusal(recording(15.0)) == (422, "clone_reference_length")
    assert await refusal("A" * (9 << 20)) == (413, "clone_reference_too_large")
    assert await refusal(recording(5.0)) == (503, "clone_unavailable")


async def test_another_voice_may_speak_where_the_caller_allows_it():
    wanted = await reference_of(None, Wanted("Hi.", reference=recording(5.0), may_fall_back=True))
    assert "another one speaks" in wanted.warnings[0]
    assert await reference_of(None, Wanted("Hi.")) == Wanted("Hi.")


async def test_the_length_is_measured_and_a_data_url_is_base64_too():
    assert await length_of(decode("data:audio/wav;base64," + recording(4.0))) == pytest.approx(4.0, abs=0.01)

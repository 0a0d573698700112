from agent.gateway.settings import WsSettings
from agent.gateway.socket.patience import Patience

SETTINGS = WsSettings(keepalive_s=5, first_message_s=10, idle_s=60)


def test_the_first_message_is_waited_for_and_then_only_silence_counts():
    patience = Patience(SETTINGS, 100.0)
    assert patience.timer() == 110.0 and patience.on_timer(109.9) is None
    assert patience.on_timer(110.0) == "first_message"
    patience.on_message(105.0)
    assert patience.timer() == 165.0
    patience.on_message(140.0)
    assert patience.timer() == 165.0, "a sign of life is no text"
    patience.on_text(150.0)
    assert patience.on_timer(165.0) is None and patience.timer() == 210.0
    assert patience.on_timer(210.0) == "idle"


def test_whoever_is_spoken_to_is_not_idle():
    patience = Patience(SETTINGS, 0.0)
    patience.on_message(1.0)
    patience.on_busy(60.0)
    assert patience.timer() == 120.0


def test_signs_of_life_come_regularly_where_messages_are_such():
    patience = Patience(SETTINGS, 0.0)
    patience.sends_signs = True
    patience.on_message(1.0)
    assert patience.timer() == 5.0
    assert [now for now in range(1, 17) if patience.on_timer(float(now)) == "keepalive"] == [5, 10, 15]

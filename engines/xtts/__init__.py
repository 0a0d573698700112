"""XTTS-v2, streamed inside the sentence, in the voice of anybody who was heard for some seconds."""

from engines.xtts.engine import XttsEngine as XttsEngine
from engines.xtts.engine import XttsSettings as XttsSettings

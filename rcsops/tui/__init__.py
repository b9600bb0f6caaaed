"""The chat as a full screen (Textual): another front of `rcsops.operations.chat`.

`rows` and `state` are what there is to show, without a screen; `widgets` show it, `screens` put
them together, `app` runs them beside the room, `terminal` is between it and the person.
"""

import os

# Before Textual is imported. After each drawing it has the next one wait for up to two frames: at
# its 60 a second a key waits for 33 ms when something else was drawn just before.
os.environ.setdefault("TEXTUAL_FPS", "250")

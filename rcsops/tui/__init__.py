"""The chat as a full screen (Textual): another front of `rcsops.operations.chat`.

`rows` and `state` are what there is to show, without a screen; `widgets` show it, `screens` put
them together, `app` runs them beside the room.
"""

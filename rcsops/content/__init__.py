"""The content server of file transfer over HTTP (RCC.07): users upload a file to it, and whoever
has its address fetches it. A process of its own beside the SIP server, with the same accounts."""

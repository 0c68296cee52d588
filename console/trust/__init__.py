"""What makes the log believable without believing whoever serves it.

Pure: bytes in, bytes or an error out. Only `tiles.TileWriter` and `monitor.Monitor` write
files; nothing here opens a socket. Import the module that you need.
"""

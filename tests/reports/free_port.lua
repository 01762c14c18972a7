-- Prints a port of the loopback that nobody listens on.
local listener = assert(require("socket").bind("127.0.0.1", 0))
print((select(2, listener:getsockname())))
listener:close()

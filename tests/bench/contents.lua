-- Cases of luajit.lua: what a buffer's bytes cost, beside a raw pointer and string.buffer.
-- A case is a name, a function of how often, and whether it must compile without an abort.

-- has_buffer: whether this LuaJIT has string.buffer.
return function(bytepool, ffi, has_buffer, string_buffer)
    local bit = require "bit"
    local pool = bytepool.new_pools(bytepool.size_power_of_two())
    local buf = pool:get_buffer(65536):fill(120)
    local big = pool:get_buffer(1048576)
    local pointer = ffi.new("uint8_t[65536]")
    local from, to = ffi.new("uint8_t[16384]"), ffi.new("uint8_t[16384]")
    local word_pointer = ffi.typeof("const uint32_t *")
    local word = ("w"):rep(16)
    local builder, strings = pool:builder(), has_buffer and string_buffer.new()
    local kept = {pool = pool} -- a pool that the collector finds is closed, and nothing grows any more
    ffi.fill(pointer, 65536, 120)

    return {
        {"byte_run", function(n)
            local sum = 0
            for _ = 1, n, 65536 do for i = 1, 65536 do sum = sum + buf:byte(i) end end
            return sum
        end, compiles = true},
        {"byte_run_raw", function(n)
            local sum = 0
            for _ = 1, n, 65536 do for i = 0, 65535 do sum = sum + pointer[i] end end
            return sum
        end},
        {"u32be_run", function(n)
            local sum = 0
            for _ = 1, n, 16384 do for i = 1, 65536, 4 do sum = sum + buf:u32be(i) end end
            return sum
        end, compiles = true},
        {"u32be_run_raw", function(n)
            local sum = 0
            for _ = 1, n, 16384 do
                for i = 0, 65535, 4 do
                    sum = sum + bit.bswap(ffi.cast(word_pointer, pointer + i)[0])
                end
            end
            return sum
        end},
        {"put16", function(n)
            for _ = 1, n, 4096 do
                builder:reset()
                for _ = 1, 4096 do builder:put(word) end
            end
        end, compiles = true},
        {"put16_string_buffer", has_buffer and function(n)
            for _ = 1, n, 4096 do
                strings:reset()
                for _ = 1, 4096 do strings:put(word) end
            end
        end},
        {"sub4k", function(n)
            for i = 1, n do kept[i % 8 + 1] = buf:sub(i % 64 + 1, i % 64 + 4096) end
            return kept[1]
        end, compiles = true},
        {"sub4k_ffi_string", function(n)
            for i = 1, n do kept[i % 8 + 1] = ffi.string(pointer + i % 64, 4096) end
        end},
        {"slice", function(n) for _ = 1, n do big:slice(1, 1048576):release() end end, compiles = true},
        {"memcpy16k", function(n) for _ = 1, n do ffi.copy(to, from, 16384) end end},
    }
end

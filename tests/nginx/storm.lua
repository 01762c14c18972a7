-- wrk's script: paths by their weights, another order in each thread.

local weights = {
    ["/normal"] = 10, ["/send?n=4096"] = 6, ["/send?n=65536"] = 10, ["/send?n=1048576"] = 2, ["/slices?n=200000"] = 6,
    ["/mixed?n=200000&step=20000&flush=1"] = 4, ["/mixed?n=200000&step=3000&flush=wait&least=0"] = 2,
    ["/fail"] = 6, ["/fail_late"] = 6, ["/exit"] = 5, ["/exec"] = 6, ["/redirect"] = 3, ["/sleep?t=0.002"] = 5,
    ["/timer"] = 5, ["/threads"] = 4, ["/thread_error"] = 3, ["/on_abort"] = 1, ["/capture?n=65536"] = 4,
    ["/multi?n=65536"] = 3, ["/retained"] = 4, ["/dead"] = 4, ["/phases/"] = 4, ["/gzip/send?n=65536"] = 3,
    ["/filter/mixed?n=65536&step=20000"] = 3, ["/proxy/slices?n=200000"] = 2, ["/noabort/normal"] = 3,
    ["/headers_first?n=65536"] = 2, ["/eof?n=65536"] = 2, ["/serve?n=65536"] = 3, ["/released?n=200000"] = 5,
    ["/released?n=1048576&idle=1"] = 2, ["/gzip/released?n=65536"] = 1, ["/collect"] = 1, ["/ties"] = 1,
    ["/elsewhere/slices?n=65536"] = 1, ["/uncached/released?n=65536"] = 1, ["/uncached/fail_late"] = 1,
}
local paths = {}
for path, weight in pairs(weights) do for _ = 1, weight do paths[#paths + 1] = path end end
table.sort(paths)

local threads = 0
function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init(args) math.randomseed((tonumber(args[1]) or 1) * 16 + number) end

function request() return wrk.format("GET", paths[math.random(#paths)]) end

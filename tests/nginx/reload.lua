-- wrk's script: the ways of sending by turns.
local paths = {
    "/send?n=65536", "/released?n=200000", "/slices?n=65536", "/mixed?n=65536&step=10000&flush=1", "/normal", "/timer",
}
local n = 0
function request()
    n = n % #paths + 1
    return wrk.format("GET", paths[n])
end

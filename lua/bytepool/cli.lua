--- The command `bytepool`, as a function that a test can call.
--
--     bytepool --version
--     bytepool info
--     bytepool tiers [power_of_two|stream]
--     bytepool stats FILE|URL [--watch [SECONDS]]
--     bytepool report --format FORMAT FILE
--     bytepool suggest --tiers N [--max-waste P] [--svg FILE] TRACE
--     bytepool simulate [--policy NAME] [--hold N] [CONFIG...] TRACE
--     bytepool check FILE...
--
-- From stats on they stand in bytepool.cli.reports and in modules of their names.
--
-- Since 0.1.0.
-- @module bytepool.cli

local check = require "bytepool.cli.check"
local simulate = require "bytepool.cli.simulate"
local suggest = require "bytepool.cli.suggest"

local cli = {}

local OK, FAILED, USAGE = 0, 1, 2

-- Lua 5.1 has no package.searchpath.
local search = rawget(package, "searchpath") or function(name, path)
    local file = name:gsub("%.", "/")
    for template in path:gmatch("[^;]+") do
        local candidate = template:gsub("%?", (file:gsub("%%", "%%%%")))
        local handle = io.open(candidate, "rb")
        if handle then
            handle:close()
            return candidate
        end
    end
end

local function lua_version()
    local jit = rawget(_G, "jit")
    if not jit then return _VERSION end
    return ("%s (JIT %s)"):format(jit.version, jit.status() and "on" or "off")
end

local function size_list(sizes, separator)
    local shown = {}
    for i, size in ipairs(sizes) do shown[i] = ("%.0f"):format(size) end
    return table.concat(shown, separator)
end

-- fn(bytepool, arguments, out) returns nothing, or a complaint and whether the arguments are wrong.
local commands = {}

function commands.info(bytepool, _, out)
    local function row(name, value) out(("%-14s %s\n"):format(name, value)) end
    row("bytepool", bytepool._VERSION)
    row("Lua", lua_version())
    row("FFI bodies", bytepool.ffi_bodies and "in use" or "not in use")
    row("C module", search("bytepool.core", package.cpath) or "not in a file (preloaded)")
    row("default tiers", size_list(bytepool.size_power_of_two(), " "))
end

function commands.tiers(bytepool, arguments, out)
    out(size_list(bytepool["size_" .. arguments.kind](), "\n") .. "\n")
end

-- Loaded with bytepool: without the module, --help still works.
for _, name in ipairs {"stats", "report"} do
    commands[name] = function(...) return require("bytepool.cli.reports")[name](...) end
end

commands.suggest = suggest.run
commands.check = check.run
commands.simulate = simulate.run

-- argparse's own --help calls os.exit; with a plain flag main can return.
local function make_parser(argparse)
    local function with_help(command)
        command:flag("-h --help", "Show this help and exit."):target("help")
        return command
    end
    local parser = with_help(argparse("bytepool", "Reference-counted byte buffers from size tiers.")
        :add_help(false):require_command(false):command_target("command"))
    parser:flag("--version", "Show the version and exit."):target("version")
    local parsers = {}
    local function command(name, summary)
        parsers[name] = with_help(parser:command(name, summary):add_help(false))
        return parsers[name]
    end
    command("info", "Show versions, how the methods run, where the C module is, the default tiers.")
    command("tiers", "Print the sizes of a ready-made tier table, in bytes, one a line.")
        :argument("kind", "Which table."):choices({"power_of_two", "stream"})
        :default("power_of_two")
    local stats = command("stats", "Show a snapshot: a file of report.dump or report.expvar, or an expvar page.")
    stats:argument("source", "A file, - for standard input, or an http:// URL.")
        :argname("FILE|URL"):args("?")
    stats:option("--watch", "Show it again and again, with rates per second."):args("?"):argname("SECONDS")
    stats:option("--count", "With --watch: stop after so many times."):argname("N")
    local report = command("report", "Write a snapshot in another format.")
    report:argument("source", "A file of report.dump or report.expvar, or - for standard input.")
        :argname("FILE"):args("?")
    report:option("--format", "text, expvar, prometheus, openmetrics, statsd or html."):argname("FORMAT")
        :choices({"text", "expvar", "prometheus", "openmetrics", "statsd", "html"}):default("text")
    suggest.define(command("suggest", "Find the tiers that waste least for a trace of request sizes."))
    check.define(command("check", "Say what is wrong with config files, or that nothing is."))
    simulate.define(command("simulate", "Replay a trace through a model of the pool, configs side by side."))
    return parser, parsers
end

local function run(arguments, out, err, is_stdout)
    local found, argparse = pcall(require, "argparse")
    if not found then
        err("bytepool: the Lua module argparse is missing or broken for " .. lua_version()
            .. ".\nInstall it (LuaRocks: argparse, Debian: lua-argparse). Lua said:\n"
            .. tostring(argparse) .. "\n")
        return FAILED
    end
    local parser, parsers = make_parser(argparse)
    -- A copy: argparse also looks at arguments[0].
    local words = {}
    for i, word in ipairs(arguments) do words[i] = word end
    local parsed, result = parser:pparse(words)
    if not parsed then
        err(parser:get_usage() .. "\n\nError: " .. result .. "\n")
        return USAGE
    end
    if result.help then
        out((parsers[result.command] or parser):get_help() .. "\n")
        return OK
    end
    if not result.version and not result.command then
        err(parser:get_help() .. "\n")
        return USAGE
    end

    local loaded, bytepool = pcall(require, "bytepool")
    if not loaded then
        err("bytepool: the module does not load:\n" .. tostring(bytepool) .. "\n")
        return FAILED
    end
    if result.version then
        out("bytepool " .. bytepool._VERSION .. "\n")
    else
        result.is_stdout = is_stdout
        local complaint, usage = commands[result.command](bytepool, result, out)
        if complaint then
            if not usage then
                err("bytepool: " .. complaint .. "\n")
                return FAILED
            end
            err(parsers[result.command]:get_usage() .. "\n\nError: " .. complaint .. "\n")
            return USAGE
        end
    end
    return OK
end

--- Runs the command.
---@param arguments string[] the words after the command's name
---@param out? fun(text: string) takes what it prints (default: standard output)
---@param err? fun(text: string) takes its complaints (default: standard error)
---@return integer status 0; 1 when a Lua module is missing or broken, a source can not be read, or standard output
--- can not be written; 2 for wrong arguments
function cli.main(arguments, out, err)
    err = err or function(text) io.stderr:write(text) end
    if out then return run(arguments, out, err, false) end
    local lost
    local function note(written, why)
        if not written then lost = lost or why end
    end
    local status = run(arguments, function(text) note(io.stdout:write(text)) end, err, true)
    note(io.stdout:flush())
    if not lost then return status end
    err("bytepool: standard output: " .. lost .. "\n")
    return status == OK and FAILED or status
end

return cli

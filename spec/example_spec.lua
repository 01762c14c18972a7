-- lua/examples/tar.lua, run by this interpreter, beside the system's tar.
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local h = dofile(here .. "/helper.lua")

local example = h.root .. "/lua/examples/tar.lua"

-- Examples are not installed; beside an installed copy there may be none.
if not h.exists(example) then
  pending("tar.lua: there is no lua/examples here")
  return
end

local function shell(script, ...)
  local status, out, err = h.run("sh", "-c", script, "sh", ...)
  return status, out, err
end

if shell("tar --version | grep -q GNU") ~= 0 then
  pending("tar.lua: there is no GNU tar to compare with")
  return
end

describe("the tar example", function()
  local dir

  setup(function()
    local _, out = shell("mktemp -d")
    dir = out:gsub("\n", "")
    assert.equal(0, (shell([[cd "$1" && mkdir -p t/sub/empty && cp "$2" t/sub/program && cp "$3" t/script
      : >t/nothing; printf x >t/one; head -c 512 "$2" >t/block; head -c 513 "$2" >t/more
      long=$(printf 'long%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30)
      echo long >t/$long; ln -s $long t/link; ln t/one t/hard; ln -s "$long/$long" t/sub/far]],
      dir, "/bin/sh", example)))
  end)

  teardown(function() shell("rm -rf \"$1\"", dir) end)

  local function archive(name, ...)
    assert.equal(0, (shell("cd \"$1\" && shift && tar \"$@\"", dir, "-cf", name, ...)))
    return dir .. "/" .. name
  end

  -- Lists and copies; both are what the system's tar makes of it.
  local function check(path)
    local copy = path .. ".copy"
    local status, out, err = h.exec(example, path, copy)
    assert.equal("0 ok", status .. " " .. err:sub(1, 2))
    assert.equal(select(2, shell("tar --quoting-style=literal -tf \"$1\"", path)), out)
    assert.is_true(h.read(path) == h.read(copy))
    return out, err
  end

  it("lists and rebuilds what tar made, in each of its formats", function()
    for _, format in ipairs { "gnu", "oldgnu", "pax" } do
      local out = check(archive(format .. ".tar", "--format=" .. format, "t"))
      assert.truthy(out:find("t/" .. ("long"):rep(30) .. "\n", 1, true))
      assert.truthy(out:find("t/nothing\n", 1, true))
    end
    for _, format in ipairs { "ustar", "v7" } do
      check(archive(format .. ".tar", "--format=" .. format, "t/sub/program", "t/nothing", "t/one", "t/hard"))
    end
    check(archive("empty.tar", "-T", "/dev/null"))
  end)

  it("gives back what tar x unpacks as the same files", function()
    local path = archive("whole.tar", "t")
    check(path)
    local status, out = shell([[cd "$1" && mkdir out && tar -xf whole.tar.copy -C out &&
      diff -r --no-dereference t out/t]], dir)
    assert.equal("0 ", status .. " " .. out)
  end)

  it("knows sparse files with a long map", function()
    local sparse = assert(io.open(dir .. "/sparse", "wb"))
    for i = 1, 60 do
      sparse:seek("set", i * 100000)
      sparse:write("x")
    end
    sparse:close()
    for _, format in ipairs { "gnu", "pax" } do
      check(archive("sparse-" .. format .. ".tar", "-S", "--format=" .. format, "sparse", "t/one"))
    end
  end)

  it("passes a big file on at flat memory", function()
    assert.equal(0, (shell("cd \"$1\" && head -c 8000000 /dev/zero | tr '\\0' 'z' >big", dir)))
    local _, err = check(archive("big.tar", "big", "t"))
    assert.is_true(tonumber(err:match("at most (%d+) KiB")) <= 1024)
  end)

  it("reads a pipe", function()
    archive("pipe.tar", "t")
    local status, out = shell([[cd "$1" && cat pipe.tar | "$2" "$3" /dev/stdin copy && cmp pipe.tar copy]],
      dir, h.interpreter, example)
    assert.equal(0, status)
    assert.truthy(out:find("t/sub/program", 1, true))
  end)

  it("finds a changed byte in a header, and a missing end", function()
    local path = archive("good.tar", "t")
    local content = h.read(path)
    local function refuses(changed, expected)
      h.with_file(changed, function(bad)
        local status, _, err = h.exec(example, bad)
        assert.equal(1, status)
        assert.truthy(err:find(expected, 1, true))
        assert.falsy(err:find("traceback", 1, true))
      end)
    end
    for _, at in ipairs { 1, 100, 130, 300, 500 } do
      local other = string.char((content:byte(at) + 1) % 128)
      refuses(content:sub(1, at - 1) .. other .. content:sub(at + 1), "wrong checksum in the header at byte 0")
    end
    refuses(content:sub(1, 700), "ends within an entry")
    refuses(("no archive\n"):rep(100), "the header at byte 0 has no number as its checksum")
  end)

  it("says what is wrong with a file", function()
    local status, out, err = h.exec(example, dir .. "/no-such-file")
    assert.equal("1 ", status .. " " .. out)
    assert.truthy(err:find("No such file", 1, true))
    status, out, err = h.exec(example, dir)
    assert.equal("1 ", status .. " " .. out)
    assert.truthy(err:find("Is a directory", 1, true))
    if h.exists("/dev/full") then
      status, out, err = h.exec(example, archive("full.tar", "t"), "/dev/full")
      assert.equal("1 t/\n", status .. " " .. out)
      assert.truthy(err:find("No space left on device", 1, true))
    end
  end)
end)

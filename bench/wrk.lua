-- GET of a path with numbers of a range; all servers receive the same requests.
-- wrk ... -- <path with %d> <first> <last> <gzip|identity> <random|ascending>
local path, first, last, coding, order
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  path, first, last, coding, order = args[1], tonumber(args[2]), tonumber(args[3]), args[4], args[5]
  math.randomseed(20261 + number) -- another sequence per thread
end

local function next_number()
  if order == "random" then
    return math.random(first, last)
  end
  local current = first
  first = first < last and first + 1 or 1
  return current
end

function request()
  return "GET " .. string.format(path, next_number()) .. " HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: " .. coding
    .. "\r\n\r\n"
end

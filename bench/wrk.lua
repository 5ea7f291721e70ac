-- GET of the styles of uniformly random products; all servers receive the same requests.
-- wrk ... -- <highest product id> <gzip|identity>
local highest, coding
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  highest = tonumber(args[1])
  coding = args[2]
  math.randomseed(20261 + number) -- another sequence per thread
end

function request()
  return "GET /products/" .. math.random(1, highest) .. "/styles HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: "
    .. coding .. "\r\n\r\n"
end

-- One request, sent again and again; in the end one line of JSON that closed_loop.py reads.
-- There is no `request` function: so wrk sends the same bytes each time, without asking Lua.
-- Arguments after the URL's "--": a file with the body, and pairs of header name and value.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  for at = 2, #args - 1, 2 do
    wrk.headers[args[at]] = args[at + 1]
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'result {"requests":%d,"microseconds":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,' ..
    '"p50":%d,"p99":%d,"p999":%d,"max":%d}\n',
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end

package match

// What the section says besides its figures.

const setting = `The table that the origin was published with, reproduced on one machine. A
service of its own process answers HTTP requests over loopback: each gets its
settings, decodes them where its mode hands out bytes, and finds the best of %[3]d
waiting players with them, which is about a microsecond of work. The load
generator is another process. It is an open loop: %.0[1]f requests a second arrive at
random times (the same ones in every mode), whatever became of those before, and
a latency counts from the moment at which its request was due, so that a stall
counts for every request that was due during it. A request waits at most %[2]s for
its settings and fails then. Each mode has a turn in each round: %[4]s of calm, then
changes of one setting, each watched until its value is served and half a second
more. Figures are medians of the rounds, with the lowest and the highest round.

The modes decode as one would write them: the synchronous ways and the mapped
file parse JSON in each request, the cache keeps what it decoded, and this
project's binding decodes once per change. Each request of this project takes
an exact snapshot.
`

const explainLatency = `
Everything that is in the floor's line is HTTP, the scheduler and the load
generator, which in calm was itself late by %s at most (P99, median of the
rounds of the worst mode).

![P99 of all modes](charts/match.svg)
`

const explainCosts = `
CPU is the scheduler's account of each process, in calm; the whole stack is the
service and all servers, sidecars and daemons of its mode, and not the load
generator. The pauses and allocations are the service's own, HTTP included (the
floor's line has nothing else), from Go's runtime/metrics. Its heap is small; a
service with much in it has longer collections, and more of them for the same
allocations.
`

const explainChanges = `
*The change itself* is the time of the call that makes it: in the modes with a flush
it sets the config, tells the instances, and deletes %s keys in a Lua script,
which stand for what a fleet has cached in Redis. Redis answers no request while the
script runs, and this dominates the figure: requests that arrive meanwhile wait.
In calm, the synchronous mode asks its backend once for each request anyway; the
cached one asks for nothing, and with the flush for every request that comes
until the first answer is back. That number is the rate times the length of the
flush: at the origin's 150,000 requests a second and 0.2 s it is the 30,000
retries that were published. For this project, a read of the backend is a
refresh from shared memory. CPU is that of the whole stack in the window of the
change, less what calm takes in the same time; below some milliseconds it is
noise.
`

const explainOutages = `
The process is stopped by SIGSTOP, as a node that hangs, so that connections stay
open and nothing answers. With a deadline of %[1]s on the settings a request fails
after %[1]s; without one it would wait for up to %[2]s. What the cached mode holds is
good for %[3]s, and runs out in the middle of the stop. One stop in three hits one
instance so, and nearly every stop hits some of many. Nothing was changed
during a stop: what a stopped sidecar, replica or daemon would have delivered
arrives after it.
`

const limits = `
What two processors can show: the order of the ways, what each adds to a request
in calm, and which ways a stall of a backend delays and which it does not. What
they can't: 150,000 requests a second, the queues of a saturated
fleet, a network between service and Redis (here it is a socket on the same
host, which flatters the first two modes), or how a stampede of hundreds of pods
hits one Redis. The origin's 700 ms and 215 ms are of a system under
saturation; the difference that is measured here is what such a system is
saturated by. Its CPU figures are per pod and of its whole request, ours are of
a request that does next to nothing else.
`
